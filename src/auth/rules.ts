import type { Right } from '../access.js'

/** What its holder may do: these rights, with topics whose names match one of these patterns. */
export interface Rule {
  readonly rights: readonly Right[]
  /** Names, in which `*` stands for any characters or none. */
  readonly topics: readonly string[]
}

/** Whether something is allowed with this topic; without one, whether it is with any. */
export type May = (right: Right, topic?: string) => boolean

interface Allowed {
  readonly names: Set<string>
  readonly patterns: string[]
}

/** Rules as one question. Literal names cost a look-up, patterns a walk through them. */
export function compileRules (rules: readonly Rule[]): May {
  const allowed = new Map<Right, Allowed>()
  for (const { rights, topics } of rules) {
    for (const right of rights) {
      const { names, patterns } = allowed.get(right) ?? { names: new Set<string>(), patterns: [] }
      for (const topic of topics) {
        if (!topic.includes('*')) names.add(topic)
        else if (!patterns.includes(topic)) patterns.push(topic)
      }
      if (names.size + patterns.length > 0) allowed.set(right, { names, patterns })
    }
  }
  return (right, topic) => {
    const here = allowed.get(right)
    if (here === undefined) return false
    return topic === undefined || here.names.has(topic) || here.patterns.some(pattern => matchesPattern(pattern, topic))
  }
}

/**
 * Whether a name matches a pattern as a whole. `*` stands for any characters or none; every other character is itself.
 *
 * There is no expression to compile, and nothing to backtrack over but the last star: at most pattern × name steps.
 */
export function matchesPattern (pattern: string, name: string): boolean {
  let p = 0
  let n = 0
  let star = -1
  let taken = 0
  while (n < name.length) {
    // The star is looked at first: a name may hold one, too.
    if (pattern[p] === '*') {
      star = p++
      taken = n
    } else if (p < pattern.length && pattern[p] === name[n]) {
      p++
      n++
    } else if (star !== -1) {
      // The last star takes one character more.
      p = star + 1
      n = ++taken
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
