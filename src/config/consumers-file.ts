import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type YAMLError, type YAMLMap } from 'yaml'
import { ConfigError, quoted } from './config-error.js'
import { consumerMembers, members } from './consumer-members.js'
import { variableSchemas, type VariableSchema } from './environment-schema.js'
import { wants, type RawVariables } from './environment.js'
import { nearest } from './nearest.js'

/** Each holds a thread of the client's and one of libuv's pool. */
const CONSUMERS_MAX = 64
/** Handlers in flight, of all consumers together. */
const TOTAL_MAX = 100_000
const FILE_MAX_BYTES = 1_048_576

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const nameWants = '1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or a digit'

/** What errors call the parser's codes. Its messages quote the file, which may hold secrets. */
const syntaxErrors: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'a member is there twice',
  MULTIPLE_DOCS: 'it holds more than one document',
  TAG_RESOLVE_FAILED: 'tags (!…) mean nothing here'
}

/** What KAFKA_CONSUMERS_FILE says. */
export interface ConsumersFile {
  /** Handlers in flight at once, of all consumers together. `null`: nothing is shared. */
  readonly maxInFlight: number | null
  /** At least one; of different names and groups. */
  readonly consumers: readonly DeclaredConsumer[]
}

/** One consumer of the file, as the environment variables that would make it. */
export interface DeclaredConsumer {
  readonly name: string
  readonly variables: RawVariables
  /** Says of a sentence about variables where in the file they are: `consumers.yaml:7: consumers[1].maxProcCount must …`. */
  inFile (sentence: string): string
}

type Node = unknown
type Described = { readonly at: string, readonly line: number | null }

/**
 * Reads the file that KAFKA_CONSUMERS_FILE names: YAML, of which JSON is a part. What its values mean is checked where those
 * of environment variables are. Aliases stand for what they name and are never expanded further than the two levels that
 * there are; tags are refused.
 *
 * @param path as the user gave it: errors name it so
 * @throws {ConfigError} one line with file, line, member, what it got and what it wants; never with a secret, nor with a
 *   passage of the file
 */
export function readConsumersFile (path: string, cwd: string): ConsumersFile {
  return new Reader(path, read(path, cwd)).file()
}

function read (path: string, cwd: string): string {
  try {
    const absolute = resolve(cwd, path)
    const { size } = statSync(absolute)
    if (size > FILE_MAX_BYTES) throw new ConfigError(`KAFKA_CONSUMERS_FILE must be a file of at most ${FILE_MAX_BYTES} bytes, got ${quoted(path)} with ${size}`)
    return readFileSync(absolute, 'utf8')
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new ConfigError(`KAFKA_CONSUMERS_FILE must be a readable file, got ${quoted(path)} (${(error as NodeJS.ErrnoException).code})`)
  }
}

class Reader {
  readonly #path: string
  readonly #lines = new LineCounter()
  readonly #document: Document

  constructor (path: string, text: string) {
    this.#path = path
    this.#document = this.#parse(text)
  }

  file (): ConsumersFile {
    const top = { at: 'the file', line: null }
    const root = this.#members(this.#document.contents, top, 'an object with consumers', ['maxProcCount', 'consumers'])
    const list = this.#resolved(root.get('consumers')?.value)
    const at = this.#described('consumers', list)
    if (!isSeq(list) || list.items.length === 0 || list.items.length > CONSUMERS_MAX) {
      const got = isSeq(list) ? list.items.length === 0 ? 'none' : String(list.items.length) : this.#got(list)
      throw this.#wrong(at, `a list of 1 to ${CONSUMERS_MAX} consumers`, got)
    }
    const consumers = list.items.map((item, index) => this.#consumer(item, `consumers[${index}]`))
    this.#mustDiffer(consumers, 'name', ({ name }) => name, 'names tell consumers apart')
    this.#mustDiffer(consumers, 'groupId', ({ variables }) => variables.KAFKA_GROUP_ID!,
      'the records of one group are shared out between its members, so that chance would decide which handler gets one')
    return { maxInFlight: this.#total(root.get('maxProcCount')?.value, consumers.length), consumers }
  }

  #parse (text: string): Document {
    let document
    try {
      document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, uniqueKeys: true, version: '1.2', schema: 'core' })
    } catch {
      // It gives up on what is nested very deeply.
      throw new ConfigError(`${this.#path}: is neither YAML nor JSON`)
    }
    const error: YAMLError | undefined = document.errors[0] ?? document.warnings[0]
    if (error === undefined) return document
    const what = syntaxErrors[error.code] ?? `it is neither YAML nor JSON (${error.code.toLowerCase().replaceAll('_', ' ')})`
    throw new ConfigError(`${this.#path}:${this.#lines.linePos(error.pos[0]).line}: ${what}`)
  }

  #total (node: Node, count: number): number | null {
    const resolved = this.#resolved(node)
    if (resolved === undefined) return null
    const value: unknown = isScalar(resolved) && resolved.tag === undefined ? resolved.value : null
    if (!Number.isSafeInteger(value) || (value as number) < count || (value as number) > TOTAL_MAX) {
      const each = count === 1 ? '' : `, ${count} at least: one for each consumer`
      throw this.#wrong(this.#described('maxProcCount', node), `a whole number from 1 to ${TOTAL_MAX}${each}`, this.#got(node))
    }
    return value as number
  }

  #consumer (item: Node, at: string): DeclaredConsumer & { readonly at: string, readonly lines: ReadonlyMap<string, number | null> } {
    const found = this.#members(item, this.#described(at, item), 'an object', ['name', ...consumerMembers.keys()])
    const variables: RawVariables = {}
    const lines = new Map<string, number | null>()
    let name: string | undefined
    for (const [member, { key, value }] of found) {
      const described = { at: `${at}.${member}`, line: this.#line(key) }
      lines.set(member, described.line)
      if (member === 'name') {
        name = this.#text(value, described, { description: '', wants: nameWants })
        if (!namePattern.test(name)) throw this.#wrong(described, nameWants, quoted(name))
      } else {
        const variable = consumerMembers.get(member)!
        variables[variable] = this.#text(value, described, variableSchemas[variable])
      }
    }
    const here = this.#described(at, item)
    for (const needed of ['name', 'groupId', 'topic']) {
      if (!lines.has(needed)) throw new ConfigError(`${this.#where(here.line)}: ${at}.${needed} must be set`)
    }
    return { at, lines, name: name!, variables, inFile: sentence => this.#inFile(sentence, at, lines, variables) }
  }

  /** A value as the text that its environment variable would have. */
  #text (node: Node, described: Described, schema: VariableSchema): string {
    const resolved = this.#resolved(node)
    const { type = 'string' } = schema
    if (schema.list === true && isSeq(resolved) && resolved.tag === undefined) {
      return resolved.items.map((item, index) => {
        const text = this.#text(item, { ...described, at: `${described.at}[${index}]` }, { ...schema, list: false })
        if (text.includes(',')) throw this.#wrong(described, 'a list of texts without commas', this.#got(item, schema))
        return text
      }).join(',')
    }
    const value: unknown = isScalar(resolved) && resolved.tag === undefined ? resolved.value : null
    if (!fits[type](value)) throw this.#wrong(described, kind(schema), this.#got(node, schema))
    return String(value)
  }

  /** The members of a map, each with the node of its name. */
  #members (node: Node, described: Described, what: string, known: readonly string[]): Map<string, { key: Node, value: Node }> {
    const map = this.#resolved(node)
    if (!isMap(map) || map.tag !== undefined) throw this.#wrong(described, what, this.#got(node))
    const found = new Map<string, { key: Node, value: Node }>()
    for (const { key, value } of (map as YAMLMap).items) {
      const name = isScalar(key) && typeof key.value === 'string' ? key.value : null
      if (name === null || !known.includes(name)) {
        const what = name === null ? 'member whose name is not a text' : `member ${quoted(name)}${this.#hint(name, known)}`
        throw new ConfigError(`${this.#where(this.#line(key))}: ${described.at} has no ${what}`)
      }
      found.set(name, { key, value })
    }
    return found
  }

  #hint (name: string, known: readonly string[]): string {
    const variable = name in variableSchemas ? name : undefined
    const member = variable === undefined ? name : members.get(variable)!
    if (known.includes(member)) return `; did you mean ${member}?`
    const processWide = [...members].find(([, of]) => of === member)?.[0]
    if (processWide !== undefined && !consumerMembers.has(member)) return `: ${processWide} is the whole process's`
    const suggestion = nearest(name, known, '')
    return suggestion === undefined ? '; docs/consumers.md says which there are' : `; did you mean ${suggestion}?`
  }

  #mustDiffer<Of extends { readonly at: string, readonly lines: ReadonlyMap<string, number | null> }> (
    consumers: readonly Of[], member: string, of: (one: Of) => string, why: string
  ): void {
    const first = new Map<string, string>()
    for (const one of consumers) {
      const other = first.get(of(one))
      if (other !== undefined) {
        throw new ConfigError(`${this.#where(one.lines.get(member) ?? null)}: ${one.at}.${member} must not be that of ${other}, got ${quoted(of(one))}: ${why}`)
      }
      first.set(of(one), one.at)
    }
  }

  #inFile (sentence: string, at: string, lines: ReadonlyMap<string, number | null>, variables: RawVariables): string {
    let line: number | null = null
    let named = false
    // What somebody wrote stands in quotes, and stays as it is.
    const said = sentence.replace(/'[^']*'|\b[A-Z]+(?:_[A-Z0-9]+)+\b/g, word => {
      const member = members.get(word)
      if (member === undefined || variables[word] === undefined) return word
      if (!named) line = lines.get(member) ?? null
      named = true
      return `${at}.${member}`
    })
    return `${this.#where(line)}: ${named ? '' : `${at}: `}${said}`
  }

  #resolved (node: Node): Node {
    return isAlias(node) ? node.resolve(this.#document) : node
  }

  #described (at: string, node: Node): Described {
    return { at, line: this.#line(node) }
  }

  #line (node: Node): number | null {
    const range = (node as { range?: readonly number[] | null } | null | undefined)?.range
    return range == null ? null : this.#lines.linePos(range[0]).line
  }

  #where (line: number | null): string {
    return line === null ? this.#path : `${this.#path}:${line}`
  }

  #wrong ({ at, line }: Described, wanted: string, got: string): ConfigError {
    return new ConfigError(`${this.#where(line)}: ${at} must be ${wanted}, got ${got}`)
  }

  #got (node: Node, schema?: VariableSchema): string {
    const resolved = this.#resolved(node)
    if (schema?.secret === true) return 'a value that is not shown'
    if (isSeq(resolved)) return 'a list'
    if (isMap(resolved)) return 'an object'
    if (!isScalar(resolved) || resolved.value === null) return 'nothing'
    if (resolved.tag !== undefined) return 'a value with a tag'
    return typeof resolved.value === 'string' ? quoted(resolved.value) : String(resolved.value)
  }
}

const isNumber = (value: unknown) => typeof value === 'number'

/** What a value must be, so that its text is what an environment variable would say. */
const fits: Readonly<Record<NonNullable<VariableSchema['type']>, (value: unknown) => boolean>> = {
  string: value => typeof value === 'string' && value !== '' && !value.includes('\0'),
  boolean: value => typeof value === 'boolean',
  integer: isNumber,
  number: isNumber
}

function kind (schema: VariableSchema): string {
  const { type = 'string' } = schema
  if (type === 'boolean') return 'true or false'
  const form = type === 'integer' ? 'a whole number' : type === 'number' ? 'a number' : schema.list === true ? 'a text or a list of texts' : 'a text'
  const limits = wants(schema)
  return limits === '' ? `${form}${type === 'string' ? ' that is not empty' : ''}` : `${form}, ${limits}`
}
