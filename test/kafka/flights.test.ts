import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { Flights, type Flight } from '../../src/kafka/flights.js'

class Record {
  flight: Flight | null = null
  order = 0
  returns = 0
  constructor (readonly topic: string, readonly n: number, readonly size = 1) {}
}

const BOARDING_MS = 2

function setUp ({ areLong = true } = {}) {
  const handed: Record[] = []
  const flown: Record[][] = []
  const clock = { now: 0 }
  const givenUp: Record[] = []
  let last: Flight | null = null
  const flights = new Flights<Record>(record => {
    handed.push(record)
    if (record.flight === last) flown.at(-1)!.push(record)
    else flown.push([record])
    last = record.flight
  }, records => { givenUp.push(...records) }, BOARDING_MS, () => clock.now)
  let n = 0
  const push = (count: number, topic = 't') => { for (let i = 0; i < count; i++) flights.push(topic, new Record(topic, n++)) }
  const report = (records: readonly Record[]) => { for (const record of records) flights.reported(record.topic, record) }
  /** Nothing boards any more, and what may go has gone. */
  const turn = async () => {
    clock.now += BOARDING_MS
    await setImmediate()
  }
  /** Of this topic, flights count as so long from then on. */
  const fly = (tookMs: number, topic = 't') => {
    push(1, topic)
    clock.now += tookMs
    report(flown.pop()!)
    handed.pop()
    n = 0
    last = null
  }
  if (areLong) for (const topic of ['t', 'u']) fly(4, topic)
  return { fly, clock, flown, flights, givenUp, handed, push, report, turn, sizes: () => flown.map(({ length }) => length) }
}

t.test('a record goes at once where nothing is under way', t => {
  const { push, report, handed } = setUp()
  for (let i = 1; i <= 3; i++) {
    push(1)
    t.equal(handed.length, i)
    report(handed.slice(-1))
  }
  t.end()
})

t.test('those that come while the client gathers go with it, and none later', async t => {
  const { clock, push, report, sizes, flown, turn } = setUp()
  push(1)
  clock.now += BOARDING_MS - 0.1
  push(2)
  t.same(sizes(), [3])
  clock.now += 0.1
  push(2)
  t.same(sizes(), [3])
  report(flown[0]!.slice(0, 1))
  await turn()
  t.same(sizes(), [3], 'a third of it is reported')
  report(flown[0]!.slice(1, 2))
  t.same(sizes(), [3], 'others may be reported in the same turn')
  await turn()
  t.same(sizes(), [3, 2])
  clock.now -= 0.1
  push(1)
  t.same(sizes(), [3, 3], 'this one boards as well')
})

t.test('while a flight is under way the others wait until half of it is reported', async t => {
  const { push, report, flown, sizes, turn } = setUp()
  push(4)
  await turn()
  push(3)
  await turn()
  t.same(sizes(), [4])
  report(flown[0]!.slice(0, 1))
  await turn()
  t.same(sizes(), [4], 'a quarter of it is reported')
  report(flown[0]!.slice(1, 2))
  await turn()
  t.same(sizes(), [4, 3], 'half of it is')
  report(flown[0]!.slice(2))
  await turn()
  t.same(sizes(), [4, 3], 'nothing waits for the rest of it')
})

t.test('where flights are short four may be under way, and no fifth', async t => {
  const { clock, push, report, flown, sizes, turn } = setUp({ areLong: false })
  for (let n = 0; n < 5; n++) {
    push(2)
    await turn()
  }
  t.same(sizes(), [2, 2, 2, 2])
  push(3)
  // The second has departed at 2.
  clock.now = 4
  report(flown[1]!)
  await turn()
  t.same(sizes(), [2, 2, 2, 2, 5])
})

t.test('a flight that took three milliseconds was short, one that took more was not', async t => {
  for (const [tookMs, under] of [[3, [1, 1]], [3.1, [1]]] as const) {
    const { fly, push, sizes, turn } = setUp()
    fly(tookMs)
    push(1)
    await turn()
    push(1)
    t.same(sizes(), under)
  }
})

t.test('none boards before those that wait', async t => {
  const { clock, push, handed, report, turn } = setUp()
  push(2)
  await turn()
  push(1)
  clock.now = 0
  push(1)
  t.equal(handed.length, 2)
  report(handed.slice(0, 1))
  push(1)
  await turn()
  t.same(handed.map(({ n }) => n), [0, 1, 2, 3, 4])
})

t.test('a thousand records may go beside a flight, 999 may not, and nothing beside two', async t => {
  const { push, sizes, turn } = setUp()
  push(5000)
  await turn()
  push(999)
  await turn()
  t.same(sizes(), [5000])
  push(1)
  await turn()
  t.same(sizes(), [5000, 1000])
  await turn()
  push(1000)
  await turn()
  t.same(sizes(), [5000, 1000])
})

t.test('a topic does not wait for another one', async t => {
  const { push, sizes, turn } = setUp()
  push(4, 'a')
  await turn()
  push(1, 'b')
  t.same(sizes(), [4, 1])
})

t.test('a flight that does not land keeps nobody waiting for good', async t => {
  const { push, flown, report, sizes, turn } = setUp()
  push(2)
  await turn()
  push(1)
  while (flown.length < 2) await new Promise(resolve => setTimeout(resolve, 10))
  await turn()
  push(1)
  report(flown[0]!)
  await turn()
  t.same(sizes(), [2, 1], 'its late reports make room for nobody')
  report(flown[1]!)
  await turn()
  t.same(sizes(), [2, 1, 1])
})

t.test('what is refused while it is handed over keeps nobody waiting', t => {
  const handed: number[] = []
  const flights: Flights<Record> = new Flights<Record>(record => {
    handed.push(record.n)
    flights.reported('t', record)
  }, () => {}, BOARDING_MS, () => 0)
  for (let n = 0; n < 5; n++) flights.push('t', new Record('t', n))
  t.same(handed, [0, 1, 2, 3, 4])
  t.end()
})

t.test('on its end all that waits is handed over, or taken back', async t => {
  const { push, flights, sizes, turn } = setUp()
  push(2)
  await turn()
  push(1)
  flights.handAll()
  t.same(sizes(), [2, 1])
  await turn()
  push(1)
  push(1, 'u')
  push(1, 'u')
  await turn()
  push(1, 'u')
  t.same(flights.takeBack().map(({ topic }) => topic), ['t', 'u'])
  await turn()
  flights.handAll()
  t.same(sizes(), [2, 1, 2])
})

t.test('whatever is pushed and reported when: every record flies once, and each topic in order', async t => {
  const step = fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 5 }), topic: fc.constantFrom('a', 'b') }),
    fc.record({ report: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.constant('turn' as const),
    fc.record({ ms: fc.integer({ min: 1, max: BOARDING_MS }) }))
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), async steps => {
    const { clock, push, report, handed, turn } = setUp()
    const reported = new Set<Record>()
    const reportSome = (share: number) => {
      const open = handed.filter(record => !reported.has(record))
      const some = open.slice(0, Math.ceil(open.length * share))
      for (const record of some) reported.add(record)
      report(some)
    }
    let pushed = 0
    for (const step of steps) {
      if (step === 'turn') await turn()
      else if ('ms' in step) clock.now += step.ms
      else if ('report' in step) reportSome(step.report)
      else {
        push(step.push, step.topic)
        pushed += step.push
      }
    }
    for (let left = -1; left !== reported.size;) {
      left = reported.size
      await turn()
      reportSome(1)
    }
    if (handed.length !== pushed || new Set(handed).size !== pushed) return false
    return ['a', 'b'].every(topic => {
      const numbers = handed.filter(record => record.topic === topic).map(({ n }) => n)
      return numbers.every((n, i) => i === 0 || n > numbers[i - 1]!)
    })
  }))
})

/** Refuses them as one batch. */
function refuseAll (flights: Flights<Record>, records: readonly Record[], isTooLarge = true): boolean[] {
  return records.map(record => {
    const goesAgain = flights.refused(record.topic, record, 0, isTooLarge)
    if (!goesAgain) flights.reported(record.topic, record)
    return goesAgain
  })
}

t.test('what was refused as a batch goes again, in smaller ones, one at a time and in order, before what came later', async t => {
  const { push, report, flights, flown, sizes, turn } = setUp()
  push(8)
  await turn()
  push(1)
  refuseAll(flights, flown[0]!.toReversed())
  await turn()
  t.same(sizes(), [8, 4], 'half of it')
  await turn()
  refuseAll(flights, flown[1]!)
  await turn()
  t.same(sizes(), [8, 4, 2])
  for (let n = 2; n < 6; n++) {
    report(flown[n]!)
    await turn()
  }
  t.same(flown.slice(2).map(records => records.map(({ n }) => n)), [[0, 1], [2, 3], [4, 5], [6, 7], [8]])
})

t.test('of a topic that has refused a batch none boards what has gone', async t => {
  const { push, report, flights, flown, sizes, turn } = setUp()
  push(4)
  await turn()
  refuseAll(flights, flown[0]!)
  await turn()
  report(flown[1]!)
  await turn()
  push(1)
  t.same(sizes(), [4, 2, 2])
})

t.test('a record is to blame where it was refused alone, and only there', async t => {
  const { push, report, flights, flown, turn } = setUp()
  push(1)
  await turn()
  t.same(refuseAll(flights, flown[0]!), [false])
  report(flown.at(-1)!)
  push(1)
  push(1)
  t.equal(flown[1]!.length, 2)
  t.same(refuseAll(flights, flown[1]!.slice(0, 1)), [true], 'another one has boarded')
  await turn()
  t.equal(flown.length, 2, 'and it waits for that')
  report(flown[1]!.slice(1))
  await turn()
  t.same(flown[2]!.map(({ n }) => n), [1])
  t.same(refuseAll(flights, flown[2]!), [false])
})

t.test('what a later record of its partition has overtaken does not go again; what another partition has taken is no matter', async t => {
  const { push, flights, givenUp, flown, turn } = setUp()
  push(4)
  await turn()
  const [first, second, third, fourth] = flown[0]! as [Record, Record, Record, Record]
  flights.refused('t', first, 0, true)
  flights.refused('t', second, 1, true)
  flights.written('t', third, 0)
  flights.reported('t', third)
  flights.refused('t', fourth, 0, true)
  await turn()
  t.same(givenUp, [first])
  t.same(flown.slice(1).flat().concat(flights.takeBack()), [second, fourth])
})

t.test('where a record is not valid it is looked for in the same way, and nothing is remembered', async t => {
  const { push, report, flights, flown, sizes, turn } = setUp()
  push(4)
  await turn()
  refuseAll(flights, flown[0]!, false)
  await turn()
  report(flown[1]!)
  await turn()
  refuseAll(flights, flown[2]!, false)
  await turn()
  report(flown[3]!)
  await turn()
  t.same(refuseAll(flights, flown[4]!, false), [false])
  t.same(sizes(), [4, 2, 2, 1, 1])
  push(4)
  await turn()
  t.same(sizes().slice(5), [4], 'as much as there is')
})

t.test('after ten minutes a topic may take twice as much, and in the end as much as ever', async t => {
  const { clock, push, report, flights, flown, sizes, turn } = setUp()
  push(4)
  await turn()
  refuseAll(flights, flown[0]!)
  await turn()
  report(flown[1]!)
  await turn()
  report(flown[2]!)
  for (let n = 0; n < 20; n++) {
    clock.now += 600_000
    push(1)
    await turn()
    report(flown.at(-1)!)
  }
  const before = flown.length
  push(4)
  await turn()
  push(1000)
  await turn()
  t.same(sizes().slice(before), [4, 1000])
})

t.test('what waits to go again keeps nobody waiting for good', async t => {
  const { push, flights, givenUp, flown, sizes, turn } = setUp()
  push(2)
  await turn()
  flights.refused('t', flown[0]![0]!, 0, true)
  push(1)
  while (flown.length < 2) await new Promise(resolve => setTimeout(resolve, 10))
  t.same(sizes(), [2, 1])
  t.same(givenUp, [flown[0]![0]], 'the other one might still overtake it')
})

t.test('on its end what waits to go again is given up or taken back', async t => {
  for (const end of ['handAll', 'takeBack'] as const) {
    const { push, flights, givenUp, flown, turn } = setUp()
    push(2)
    await turn()
    const [first] = flown[0]!
    flights.refused('t', first!, 0, true)
    push(1)
    const taken = flights[end]() ?? []
    t.same(end === 'takeBack' ? taken.map(({ n }) => n) : givenUp.map(({ n }) => n), end === 'takeBack' ? [0, 2] : [0])
    t.equal(flown.length, end === 'takeBack' ? 1 : 2)
  }
})

t.test('nothing that was about to go passes what is refused in that moment', async t => {
  const { push, flights, flown, turn } = setUp()
  push(2)
  await turn()
  push(1)
  refuseAll(flights, flown[0]!.slice(0, 1))
  await turn()
  t.equal(flown.length, 1)
  refuseAll(flights, flown[0]!.slice(1))
  await turn()
  t.same(flown[1]!.map(({ n }) => n), [0])
})

const isBad = ({ size }: Record) => size % 17 === 0

/** A client that makes batches of what it was handed, and brokers that take or refuse each as a whole. */
class Brokers {
  readonly logs: Record[][] = [[], []]
  readonly blamed: Record[] = []
  readonly #queues: Record[][] = [[], []]
  constructor (readonly flights: Flights<Record>, readonly limit: number) {}

  take (record: Record): void { this.#queues[record.n % 2]!.push(record) }

  get busy (): boolean { return this.#queues.some(({ length }) => length > 0) }

  /** Sends the first so many of a partition as one batch. */
  send (partition: number, count: number): void {
    const batch = this.#queues[partition]!.splice(0, count)
    const fits = batch.reduce((sum, { size }) => sum + size, 0) <= this.limit
    const isValid = batch.every(record => !isBad(record))
    for (const record of batch) {
      if (fits && isValid) {
        this.logs[partition]!.push(record)
        this.flights.written(record.topic, record, partition)
      } else if (this.flights.refused(record.topic, record, partition, !fits)) {
        continue
      } else {
        this.blamed.push(record)
      }
      this.flights.reported(record.topic, record)
    }
  }
}

t.test('for any sizes, limits and batches, none is blamed for another, each has one end, and no partition is out of order', async t => {
  const step = fc.oneof(
    fc.record({ push: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 }) }),
    fc.record({ partition: fc.nat(1), send: fc.integer({ min: 1, max: 12 }) }),
    fc.constant('turn' as const))
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer({ min: 5, max: 60 }), async (steps, limit) => {
    const givenUp: Record[] = []
    let now = 0
    const flights: Flights<Record> = new Flights(
      record => { brokers.take(record) }, records => { givenUp.push(...records) }, BOARDING_MS, () => now)
    const turn = async () => {
      now++
      await setImmediate()
    }
    const brokers = new Brokers(flights, limit)
    const pushed: Record[] = []
    for (const step of steps) {
      if (step === 'turn') await turn()
      else if ('send' in step) brokers.send(step.partition, step.send)
      else {
        for (const size of step.push) {
          const record = new Record('t', pushed.length, size)
          pushed.push(record)
          flights.push('t', record)
        }
      }
    }
    for (let quiet = 0; quiet < 2; quiet = brokers.busy ? 0 : quiet + 1) {
      for (const partition of [0, 1]) brokers.send(partition, 12)
      await turn()
    }
    const ends = [...brokers.logs.flat(), ...brokers.blamed, ...givenUp]
    if (ends.length !== pushed.length || new Set(ends).size !== pushed.length) throw new Error(`${ends.length} ends of ${pushed.length}`)
    if (brokers.blamed.some(record => record.size <= limit && !isBad(record))) throw new Error('one is blamed for the company that it was in')
    for (const log of brokers.logs) {
      if (log.some(({ n }, i) => i > 0 && n < log[i - 1]!.n)) throw new Error(`out of order: ${log.map(({ n }) => n)}`)
    }
    for (const { n } of givenUp) {
      if (!brokers.logs[n % 2]!.some(later => later.n > n)) throw new Error(`${n} is given up, and nothing has overtaken it`)
    }
  }), { numRuns: 1000 })
})
