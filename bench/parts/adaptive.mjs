// A target that can do 100 things at once, then 20, then 100 again, and refuses what is too much: an adaptive limit beside fixed ones.

import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const CAPACITIES = [100, 20, 100]
const FIXED = [20, 50, 100, 200]
const MAX = 200

export async function run ({ rounds, scale, say }) {
  const seconds = Math.max(1.5, 6 * scale)
  const target = (limit, adaptive = false) => () => runSubject('adaptive-target', { limit, adaptive, capacities: CAPACITIES, seconds })
  const { adaptive, ...fixed } = await takeTurns({
    adaptive: target(MAX, true), ...Object.fromEntries(FIXED.map(limit => [`fixed ${limit}`, target(limit)]))
  }, rounds, say)
  const [bestName, best] = Object.entries(fixed).reduce((best, next) => next[1].perSecond > best[1].perSecond ? next : best)
  const widest = fixed[`fixed ${MAX}`]
  const schedule = `capacity ${CAPACITIES.join(', ')}, ${number(seconds, 1)} s each`
  return [
    {
      what: `adaptive limit, at most ${MAX}; ${schedule}`,
      result: `${number(adaptive.perSecond)}/s; limits at the end of each ${number(adaptive.limit1)}, ${number(adaptive.limit2)}, ${number(adaptive.limit3)}`,
      cpu: `${number(adaptive.cpuPer1000, 1)} : ${number(best.cpuPer1000, 1)}`,
      beside: `best fixed limit (${bestName}) ${number(best.perSecond)}/s`,
      figure: number(adaptive.perSecond / best.perSecond, 2),
      goal: '≥ 0.90',
      reached: adaptive.perSecond >= 0.9 * best.perSecond
    },
    {
      what: 'the same: refused by the target',
      result: number(adaptive.refused),
      beside: Object.entries(fixed).map(([name, { refused }]) => `${name}: ${number(refused)}`).join(', '),
      figure: number(adaptive.refused / Math.max(1, widest.refused), 3),
      goal: '≤ 1.000',
      reached: adaptive.refused < widest.refused
    }
  ]
}
