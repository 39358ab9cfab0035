/** The configuration is wrong: `message` is one line for whoever starts the process, and holds no secret. */
export class ConfigError extends Error {
  constructor (message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}

const SHOWN_CHARACTERS_MAX = 80

/** What was found, for an error's one line: in quotes, what cannot be seen escaped, cut at 80 characters. */
export function quoted (value: string): string {
  const cut = value.length > SHOWN_CHARACTERS_MAX ? `${value.slice(0, SHOWN_CHARACTERS_MAX)}…` : value
  return `'${cut.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, escaped)}'`
}

function escaped (character: string): string {
  if (character === '\n') return '\\n'
  if (character === '\t') return '\\t'
  return `\\u{${character.codePointAt(0)!.toString(16)}}`
}
