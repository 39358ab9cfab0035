import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { envSchema, type EnvSchemaOpt } from 'env-schema'
import { ConfigError, quoted } from './config-error.js'
import { environmentSchema, variableSchemas, type Environment, type VariableSchema } from './environment-schema.js'

/** Variables as they were written; never an empty one. */
export type RawVariables = Record<string, string>

type Ajv = Extract<NonNullable<EnvSchemaOpt['ajv']>, { compile: unknown }>

// No octal look-alikes, exponents, hexadecimals or white space: 010, 1e3, 0x10 and ' 5 ' are refused rather than guessed at.
const written = {
  integer: /^-?(0|[1-9]\d*)$/,
  number: /^-?(0|[1-9]\d*)(\.\d+)?$/,
  boolean: /^(true|false)$/,
  string: /(?:)/
}

/**
 * Gathers the variables of `env`, and below them those of `.env` in `cwd` where `dotenv` is set. An empty variable
 * counts as unset: that is how compose files pass on what nobody set.
 *
 * @throws {ConfigError} where `.env` is there but cannot be read
 */
export function gatherVariables (env: NodeJS.ProcessEnv, cwd: string, dotenv: boolean): RawVariables {
  return { ...withoutEmpty(dotenv ? readDotenv(cwd) : {}), ...withoutEmpty(env) }
}

function withoutEmpty (variables: NodeJS.Dict<string>): RawVariables {
  return Object.fromEntries(Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ''))
}

// env-schema would read it just so, but then nobody could tell the unknown and the empty names in it.
function readDotenv (cwd: string): NodeJS.Dict<string> {
  try {
    return parseEnv(readFileSync(resolve(cwd, '.env'), 'utf8'))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return {}
    throw new ConfigError(`.env cannot be read: ${code ?? 'unknown error'}`)
  }
}

// Kept, since it keeps the compiled schema.
let ajv: Ajv | undefined

/**
 * Checks the variables against the schema and fills in the defaults.
 *
 * @param name what an error calls a variable: the name itself, or the property of the file that it came from
 * @throws {ConfigError} for the first wrong value, in the order of the schema
 */
export function checkVariables (raw: RawVariables, name: (variable: string) => string = variable => variable): Environment {
  const known: RawVariables = {}
  for (const [variable, schema] of Object.entries(variableSchemas)) {
    const value = raw[variable]
    if (value === undefined) continue
    if (!written[schema.type ?? 'string'].test(value)) throw wrongValue(name(variable), schema, value)
    known[variable] = schema.anyCase ? value.toLowerCase() : value
  }
  try {
    return envSchema<Environment>({
      schema: environmentSchema,
      data: known,
      env: false,
      ajv: { customOptions: fresh => { ajv ??= fresh.addVocabulary(['wants', 'whenUnset', 'secret', 'anyCase', 'list']); return ajv } }
    })
  } catch (error) {
    const first = (error as { errors?: { instancePath: string }[] }).errors?.[0]
    const variable = first?.instancePath.slice(1) ?? ''
    const schema = variableSchemas[variable]
    if (schema === undefined) throw error
    throw wrongValue(name(variable), schema, raw[variable] ?? '')
  }
}

/** The one line for a value that the schema does not allow. */
function wrongValue (name: string, schema: VariableSchema, value: string): ConfigError {
  return new ConfigError(`${name} must be ${wants(schema)}, got ${schema.secret ? 'a value that is not shown' : quoted(value)}`)
}

/** What a variable accepts, in words; '' for any text. */
export function wants (schema: VariableSchema): string {
  if (schema.wants !== undefined) return schema.wants
  if (schema.type === 'boolean') return 'true or false'
  if (schema.enum !== undefined) return anyOf(schema.enum)
  if (schema.minimum !== undefined) {
    return `between ${schema.minimum} and ${schema.maximum}${schema.type === 'integer' ? '' : ' (fractions are fine)'}`
  }
  return ''
}

/** 'a, b or c' */
export function anyOf (words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}
