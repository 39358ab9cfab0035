import { SluiceError } from './errors.js'
import { isWellFormed } from './strict-text.js'

/** How many attributes an event may have. */
export const maxEventAttributes = 100
/** How long the value of one may be, in UTF-16 code units. */
export const maxAttributeLength = 16_384

const required = ['specversion', 'id', 'source', 'type'] as const
/** Attributes that the specification names: always text, and never empty. `partitionkey` is of the partitioning extension. */
const core = new Set(['specversion', 'id', 'source', 'type', 'datacontenttype', 'dataschema', 'subject', 'time', 'partitionkey'])

// What the type String leaves out: control characters, halves of surrogate pairs, noncharacters.
// eslint-disable-next-line no-control-regex -- they are what is looked for
const notText = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/
/** The same as a JSON Schema has it. */
export const attributePattern = '^[^\\u0000-\\u001f\\u007f-\\u009f\\ufdd0-\\ufdef\\ufffe\\uffff]*$'
const rfc3339 = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i

/** Whether the type String of CloudEvents can hold it. */
export const isAttributeText = (text: string): boolean => !notText.test(text) && isWellFormed(text)

/** How the two ways of writing an event call an attribute in an error, and where it is. */
export type AttributeFault = (name: string, what: string) => SluiceError

/**
 * Checks the attributes of an event (CloudEvents 1.0.2): those that are required, the names, the types and the limits.
 *
 * That `source` and `dataschema` are URIs is not checked: not every sender encodes its headers as the HTTP binding wants it, and
 * what was decoded once too often is still an event.
 *
 * @throws what `fault` makes, at the first one
 */
export function checkAttributes (attributes: ReadonlyMap<string, unknown>, fault: AttributeFault): void {
  if (attributes.size > maxEventAttributes) throw fault('', `has ${attributes.size} attributes; an event may have ${maxEventAttributes}`)
  for (const name of required) {
    if (!attributes.has(name)) throw fault(name, 'is missing; a CloudEvent has specversion, id, source and type')
  }
  if (attributes.get('specversion') !== '1.0') throw fault('specversion', 'must be "1.0"')
  for (const [name, value] of attributes) {
    if (!/^[a-z0-9]+$/.test(name)) throw fault(name, 'has a name that is not made of a-z and 0-9 alone')
    checkValue(name, value, fault)
  }
  const time = attributes.get('time')
  if (time !== undefined && !(rfc3339.test(time as string) && isDay(time as string))) throw fault('time', 'must be a time as in RFC 3339')
}

function checkValue (name: string, value: unknown, fault: AttributeFault): void {
  if (typeof value === 'string') {
    if (value === '' && core.has(name)) throw fault(name, 'must not be empty')
    if (value.length > maxAttributeLength) throw fault(name, `may have ${maxAttributeLength} characters`)
    if (!isAttributeText(value)) {
      throw fault(name, 'holds a control character, or another one that CloudEvents do not allow in text')
    }
  } else if (core.has(name)) {
    throw fault(name, 'must be a string')
  } else if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < -0x80000000 || value > 0x7fffffff) throw fault(name, 'must be an integer of 32 bits, if it is a number')
  } else if (typeof value !== 'boolean') {
    throw fault(name, 'must be a string, an integer or a boolean')
  }
}

/** Whether the month has that day: the 30th of February has the right form. */
function isDay (time: string): boolean {
  const [year, month, day] = time.slice(0, 10).split('-').map(Number) as [number, number, number]
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  return date.getUTCDate() === day
}
