// Two processes of a group against one: work that waits must get twice as quick.

import { hiddenTopic, uniqueName } from '../lib/kafka.mjs'
import { startMember } from '../lib/processes.mjs'
import { number, takeTurns } from '../lib/report.mjs'

const PARTITIONS = 8
const LIMIT = 100
const HANDLER_MS = 10
const GOAL = 1.9
const JOIN_LIMIT_MS = 60_000

export async function run ({ bootstrapServers, rounds, scale, say }) {
  const total = 80_000 * scale
  const { one, two } = await takeTurns({
    one: () => measure(bootstrapServers, 1, total),
    two: () => measure(bootstrapServers, 2, total)
  }, rounds, say)
  const ratio = two.perSecond / one.perSecond
  return [{
    what: `2 processes, ${number(total)} records, ${PARTITIONS} partitions, handler of ${HANDLER_MS} ms, limit ${LIMIT} each`,
    result: `${number(two.perSecond)}/s`,
    cpu: `${number(two.cpuPer1000, 1)} : ${number(one.cpuPer1000, 1)}`,
    beside: `1 process ${number(one.perSecond)}/s`,
    figure: number(ratio, 2),
    goal: `≥ ${number(GOAL, 2)}`,
    reached: ratio >= GOAL
  }]
}

/**
 * The records are there but hidden until every process has its share of the partitions, so that joining does not count and
 * nobody produces meanwhile. It is timed from the first that is handled, by whom ever, to the last.
 */
async function measure (bootstrapServers, processes, total) {
  const topic = uniqueName('bench-processes')
  const show = await hiddenTopic(bootstrapServers, topic, {
    partitions: PARTITIONS,
    records: total,
    recordOf: n => ({ key: Buffer.from(`key-${n % 10_000}`), value: Buffer.alloc(100, 'x'), partition: n % PARTITIONS })
  })
  const member = {
    bootstrapServers, topic, groupId: uniqueName('bench'), handlerMs: HANDLER_MS, env: { KAFKA_MAX_PROC_COUNT: String(LIMIT) }
  }
  const members = Array.from({ length: processes }, () => startMember('group-member', member))
  const each = body => members.map(({ last }) => body(last()))
  const sum = numbers => numbers.reduce((all, number) => all + number, 0)
  try {
    await until(() => each(({ partitions }) => partitions).every(count => count === PARTITIONS / processes), JOIN_LIMIT_MS, 'the partitions are shared out')
    await show()
    await until(() => sum(each(({ handled }) => handled)) >= total, JOIN_LIMIT_MS + total, 'everything is handled')
    const handled = sum(each(({ handled }) => handled))
    if (handled !== total) throw new Error(`${handled} records were handled, and there are ${total}`)
    const seconds = (Math.max(...each(({ lastAt }) => lastAt)) - Math.min(...each(({ firstAt }) => firstAt))) / 1000
    return { perSecond: total / seconds, cpuPer1000: sum(each(({ cpuMs }) => cpuMs)) / total * 1000 }
  } finally {
    await Promise.all(members.map(member => member.end()))
  }
}

async function until (condition, limitMs, what) {
  const deadline = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${number(limitMs / 1000)} s until ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
