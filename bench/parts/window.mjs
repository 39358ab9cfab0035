// What a record costs with a hundred times as many in the window: the engine alone, without Kafka.

import { runSubject } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const MANY = 100_000
const FEW = 1000
const WARM_UP = 300_000
const GOAL = 1.5

export async function run ({ rounds, scale, say }) {
  const total = 1_000_000 * scale
  const cost = (what, window) => () => runSubject('window-cost', { what, window, warmUp: WARM_UP, total })
  const results = await takeTurns({
    manyCompleted: cost('completed', MANY),
    fewCompleted: cost('completed', FEW),
    manyWaiting: cost('waiting', MANY),
    fewWaiting: cost('waiting', FEW)
  }, rounds, say)
  const row = (what, many, few) => {
    const ratio = many.cpuPer1000 / few.cpuPer1000
    return {
      what: `engine alone, ${number(MANY)} records in the window, ${what}`,
      result: `${number(many.perSecond)}/s`,
      cpu: `${number(many.cpuPer1000, 2)} : ${number(few.cpuPer1000, 2)}`,
      beside: `${number(FEW)} in the window ${number(few.perSecond)}/s`,
      figure: number(ratio, 2),
      goal: `≤ ${number(GOAL, 2)}`,
      reached: ratio <= GOAL
    }
  }
  return [
    row('nearly all completed', results.manyCompleted, results.fewCompleted),
    row('all waiting, by key', results.manyWaiting, results.fewWaiting)
  ]
}
