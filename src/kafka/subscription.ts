/** What patterns do not find, besides Kafka's own topics (`__…`). */
export interface ExcludedTopics {
  readonly names: readonly string[]
  readonly suffixes: readonly string[]
}

/** What a subscription means for the topics that there are. */
export interface Resolution {
  /** What to subscribe to, in order. */
  readonly names: readonly string[]
  /** Names that there is no topic of. */
  readonly missing: readonly string[]
  /** Patterns that find nothing. */
  readonly unmatched: readonly string[]
}

/**
 * The topics that a subscription means: names as they are, and what its patterns find.
 *
 * A pattern begins with `^` and is matched from the start of the name, not to its end. What it finds leaves out Kafka's own
 * topics and those that are excluded; a name that is listed is taken as it is.
 */
export class Subscription {
  readonly #names: readonly string[]
  readonly #patterns: readonly { readonly source: string, readonly expression: RegExp }[]
  readonly #excluded: ExcludedTopics
  // Names that a pattern found, and that were not there when it was last looked.
  #found: ReadonlySet<string> = new Set()
  #missed: ReadonlySet<string> = new Set()

  /** @throws {SyntaxError} for a pattern that does not compile */
  constructor (topics: readonly string[], excluded: ExcludedTopics) {
    this.#names = topics.filter(topic => !topic.startsWith('^'))
    this.#patterns = topics.filter(topic => topic.startsWith('^')).map(source => ({ source, expression: patternExpression(source) }))
    this.#excluded = excluded
  }

  get hasPatterns (): boolean { return this.#patterns.length > 0 }

  /**
   * Resolves it against a list of all topics. One that was found before must be missing from two lists in a row before it
   * is given up: a broker that has just started may not know all of them yet.
   */
  resolve (existing: readonly string[]): Resolution {
    const candidates = existing.filter(topic => !this.#isExcluded(topic))
    const matched = new Set(candidates.filter(topic => this.#patterns.some(({ expression }) => expression.test(topic))))
    const missed = new Set([...this.#found].filter(topic => !matched.has(topic) && !this.#missed.has(topic)))
    this.#missed = missed
    this.#found = new Set([...matched, ...missed])
    return {
      names: [...new Set([...this.#names, ...this.#found])].sort(),
      missing: this.#names.filter(topic => !existing.includes(topic)),
      unmatched: this.#patterns.filter(({ expression }) => !candidates.some(topic => expression.test(topic))).map(({ source }) => source)
    }
  }

  /** Whether this topic, should it exist, is among what is meant. */
  means (topic: string): boolean {
    return this.#names.includes(topic) || (!this.#isExcluded(topic) && this.#patterns.some(({ expression }) => expression.test(topic)))
  }

  #isExcluded (topic: string): boolean {
    const { names, suffixes } = this.#excluded
    return topic.startsWith('__') || names.includes(topic) || suffixes.some(suffix => topic.endsWith(suffix))
  }
}

/**
 * The expression of a pattern. Every alternative of it begins at the start of the name.
 *
 * @throws {SyntaxError} for one that does not compile
 */
export function patternExpression (pattern: string): RegExp {
  return new RegExp(`^(?:${pattern.slice(1)})`, 'u')
}
