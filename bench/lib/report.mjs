import { cpus } from 'node:os'

export function median (numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Medians, field by field, of what each contender measured in each round. */
export function medians (rounds) {
  const fields = Object.keys(rounds[0])
  return Object.fromEntries(fields.map(field => [field, median(rounds.map(round => round[field]))]))
}

/** Lets the contenders take turns: round by round, and in the other direction in every second round. */
export async function takeTurns (contenders, rounds, say) {
  const results = Object.fromEntries(Object.keys(contenders).map(name => [name, []]))
  for (let round = 0; round < rounds; round++) {
    const names = Object.keys(contenders)
    if (round % 2 === 1) names.reverse()
    for (const name of names) {
      const result = await contenders[name]()
      results[name].push(result)
      say(`round ${round + 1}, ${name}: ${JSON.stringify(result, (key, value) => typeof value === 'number' ? Math.round(value * 100) / 100 : value)}`)
    }
  }
  return Object.fromEntries(Object.entries(results).map(([name, each]) => [name, medians(each)]))
}

export const number = (value, digits = 0) => value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })

export function machine () {
  const [{ model }] = cpus()
  return `Node ${process.version}, ${cpus().length} × ${model.trim()}; broker, load and the measured process share them.\n`
}

/** Rows: what was measured · result · beside what · ratio or figure · what it should reach · whether it did. */
export function printTable (rows) {
  const head = ['measured', 'result', 'CPU ms / 1,000', 'beside', 'figure', 'to reach', '']
  const cells = rows.map(row => [row.what, row.result, row.cpu ?? '', row.beside ?? '', row.figure, row.goal ?? '', row.goal === undefined ? '' : row.reached ? 'yes' : 'NO'])
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map(row => row[column].length)))
  const line = row => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`
  console.log(line(head))
  console.log(`|${widths.map(width => '-'.repeat(width + 2)).join('|')}|`)
  for (const row of cells) console.log(line(row))
}
