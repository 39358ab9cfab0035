/**
 * The candidate that was probably meant: a typing error or two away, or longer or shorter by whole words.
 * `separator` is what stands between words. O(candidates × length²); undefined where nothing is near.
 */
export function nearest (name: string, candidates: Iterable<string>, separator: string): string | undefined {
  let best: string | undefined
  let bestDistance = Infinity
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate)
    const near = distance <= Math.max(1, Math.floor(name.length / 6)) ||
      candidate.startsWith(name + separator) || name.startsWith(candidate + separator)
    if (near && distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's: insertions, deletions and replacements of one character. */
function editDistance (a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(replaced, previous[j]! + 1, row[j - 1]! + 1))
    }
    previous = row
  }
  return previous[b.length]!
}
