/** What `sasl.jaas.config` says, of what librdkafka can use. */
export interface JaasLogin {
  /** The login module's class name without its package. */
  readonly module: string
  readonly options: Readonly<Record<string, string>>
}

// Java reads it with a StreamTokenizer: words, quoted text in either quote with Java's escapes, and // and /* */ comments.
const token = /\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|([=;])|([^\s"'=;]+)/y
const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', a: '\x07', v: '\v' }

/**
 * Reads one login module, `Module required name="value" …;`, as Kafka's JaasConfig does.
 *
 * @returns undefined where it is not that: the caller says so without showing any of it, since a password is in it
 */
export function parseJaas (text: string): JaasLogin | undefined {
  const words = tokenize(text)
  if (words === undefined) return undefined
  const [module, flag, ...rest] = words
  if (module === undefined || flag === undefined) return undefined
  if (!/^(required|requisite|sufficient|optional)$/i.test(flag.text) || rest.pop()?.mark !== ';') return undefined
  const options: Record<string, string> = Object.create(null)
  for (let i = 0; i < rest.length; i += 3) {
    const [name, equals, value] = rest.slice(i, i + 3)
    if (name === undefined || name.mark || equals?.mark !== '=' || value === undefined || value.mark) return undefined
    options[name.text] = value.text
  }
  return { module: module.text.slice(module.text.lastIndexOf('.') + 1), options }
}

interface Word { readonly text: string, readonly mark?: '=' | ';' }

function tokenize (text: string): Word[] | undefined {
  const words: Word[] = []
  token.lastIndex = 0
  while (token.lastIndex < text.length) {
    const match = token.exec(text)
    if (match === null) return undefined
    const [, doubleQuoted, singleQuoted, mark, bare] = match
    const quotedText = doubleQuoted ?? singleQuoted
    if (quotedText !== undefined) words.push({ text: unescape(quotedText) })
    else if (mark !== undefined) words.push({ text: mark, mark: mark as '=' | ';' })
    else if (bare !== undefined) words.push({ text: bare })
  }
  return words
}

function unescape (text: string): string {
  return text.replace(/\\([0-3][0-7]{0,2}|[4-7][0-7]?|.)/g, (_, escaped: string) =>
    /^[0-7]/.test(escaped) ? String.fromCharCode(parseInt(escaped, 8)) : escapes[escaped] ?? escaped)
}
