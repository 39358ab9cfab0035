import type { FastifyRequest } from 'fastify'
import { SluiceError } from './errors.js'

/**
 * The query of a request, as text: each of these names at most once, and no other.
 *
 * Read from the URL itself, since the framework's parser leaves what it cannot decode as it is, and a key must not be guessed at.
 *
 * @throws {SluiceError} SLUICE_INVALID_REQUEST, naming the parameter that is unknown, repeated, or not UTF-8 once it is decoded
 */
export function queryParameters<Name extends string> (
  { raw }: FastifyRequest, names: readonly Name[]
): { readonly [name in Name]?: string } {
  const url = raw.url ?? ''
  const mark = url.indexOf('?')
  const found: { [name in Name]?: string } = {}
  if (mark === -1) return found
  for (const part of url.slice(mark + 1).split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = decode(equals === -1 ? part : part.slice(0, equals), 'The name of a query parameter')
    if (!isOneOf(name, names)) {
      const known = names.length === 0 ? 'This route takes none.' : `This route takes ${names.join(', ')}.`
      throw new SluiceError('SLUICE_INVALID_REQUEST', `There is no query parameter ${JSON.stringify(name.slice(0, 64))}. ${known}`)
    }
    if (found[name] !== undefined) throw new SluiceError('SLUICE_INVALID_REQUEST', `The query parameter ${name} is there more than once.`)
    found[name] = equals === -1 ? '' : decode(part.slice(equals + 1), `The query parameter ${name}`)
  }
  return found
}

function isOneOf<Name extends string> (name: string, names: readonly Name[]): name is Name {
  return (names as readonly string[]).includes(name)
}

function decode (text: string, what: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw new SluiceError('SLUICE_INVALID_REQUEST', `${what} holds a percent sign that is not followed by the two digits of a UTF-8 byte.`)
  }
}
