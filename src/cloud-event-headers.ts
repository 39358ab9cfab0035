import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { SluiceError } from './errors.js'

/** How the headers begin that are attributes. */
export const attributePrefix = 'ce-'

const fault = (name: string, what: string): SluiceError => new SluiceError('SLUICE_INVALID_REQUEST', `The header ce-${name.slice(0, 64)} ${what}.`)

/**
 * The attributes of an event in binary mode: the headers that begin with `ce-`, decoded as the HTTP binding has it (3.1.3.2): quotes
 * around a value are taken off, and one round of percent-decoding follows. Bytes above 0x7f, which a sender should have encoded,
 * count as UTF-8.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST, naming the header
 */
export function eventAttributes ({ rawHeaders }: IncomingMessage): Map<string, string> {
  const attributes = new Map<string, string>()
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i]!.toLowerCase()
    if (!header.startsWith(attributePrefix)) continue
    const name = header.slice(attributePrefix.length)
    if (attributes.has(name)) throw fault(name, 'is there more than once')
    if (name === 'datacontenttype') throw fault(name, 'must not be there: in binary mode this attribute is the Content-Type')
    if (name === 'data' || name === 'data_base64') throw fault(name, 'must not be there: in binary mode the data are the body')
    attributes.set(name, decodeAttribute(name, rawHeaders[i + 1]!))
  }
  return attributes
}

/** @param value as Node.js reads it: a character a byte */
export function decodeAttribute (name: string, value: string): string {
  const text = value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1).replace(/\\([^])/g, '$1') : value
  if (/%(?![0-9a-f]{2})/i.test(text)) {
    throw fault(name, 'holds a percent sign that is not followed by two hexadecimal digits; a percent sign itself is written %25')
  }
  const bytes = Buffer.from(text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))), 'latin1')
  if (!isUtf8(bytes)) throw fault(name, 'is not UTF-8 once it is decoded')
  return bytes.toString()
}
