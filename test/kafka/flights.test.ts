import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { Flights, type Flight } from '../../src/kafka/flights.js'

class Record {
  flight: Flight | null = null
  order = 0
  returns = 0
  constructor (readonly topic: string, readonly n: number, readonly size = 1) {}
}

function setUp () {
  const flown: Record[][] = []
  const clock = { now: 0 }
  const givenUp: Record[] = []
  const flights = new Flights<Record>(records => { flown.push([...records]) }, records => { givenUp.push(...records) }, () => clock.now)
  let n = 0
  const push = (count: number, topic = 't') => { for (let i = 0; i < count; i++) flights.push(topic, new Record(topic, n++)) }
  const report = (records: readonly Record[]) => { for (const record of records) flights.reported(record.topic, record) }
  /** From then on flights count as long. */
  const flySlowly = async () => {
    push(1)
    await turn()
    clock.now += 4
    report(flown.pop()!)
  }
  return { flySlowly, clock, flown, flights, givenUp, push, report, sizes: () => flown.map(({ length }) => length) }
}

t.test('what arrives in one turn of the event loop goes together', async t => {
  const { push, sizes } = setUp()
  push(3)
  t.same(sizes(), [], 'not before the turn is over')
  await turn()
  t.same(sizes(), [3])
})

t.test('a record goes at once where nothing is under way', async t => {
  const { push, report, flown, sizes } = setUp()
  for (let i = 0; i < 3; i++) {
    push(1)
    await turn()
    report(flown.at(-1)!)
  }
  t.same(sizes(), [1, 1, 1])
})

t.test('while a long flight is under way, the others wait for it', async t => {
  const { flySlowly, push, report, flown, sizes } = setUp()
  await flySlowly()
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
  const { push, report, flown, sizes } = setUp()
  for (let n = 0; n < 5; n++) {
    push(2)
    await turn()
  }
  t.same(sizes(), [2, 2, 2, 2])
  push(3)
  await turn()
  report(flown[1]!)
  await turn()
  t.same(sizes(), [2, 2, 2, 2, 5])
})

t.test('where the last flight took more than three milliseconds none goes beside another', async t => {
  const { clock, push, report, flown, sizes } = setUp()
  const fly = async (tookMs: number) => {
    push(1)
    await turn()
    clock.now += tookMs
    report(flown.at(-1)!)
  }
  await fly(4)
  push(4)
  await turn()
  push(4)
  await turn()
  t.same(sizes(), [1, 4])
  report(flown.at(-1)!)
  await turn()
  report(flown.at(-1)!)
  await fly(3)
  push(4)
  await turn()
  push(4)
  await turn()
  t.same(sizes(), [1, 4, 4, 1, 4, 4])
})

t.test('a thousand records may go beside a long flight, 999 may not', async t => {
  const { flySlowly, push, sizes } = setUp()
  await flySlowly()
  push(5000)
  await turn()
  push(999)
  await turn()
  t.same(sizes(), [5000])
  push(1)
  await turn()
  t.same(sizes(), [5000, 1000])
})

t.test('a topic does not wait for another one', async t => {
  const { push, sizes } = setUp()
  push(4, 'a')
  await turn()
  push(1, 'b')
  await turn()
  t.same(sizes(), [4, 1])
})

t.test('a flight that does not land keeps nobody waiting for good', async t => {
  const { flySlowly, push, flown, sizes } = setUp()
  await flySlowly()
  push(2)
  await turn()
  push(1)
  while (flown.length < 2) await new Promise(resolve => setTimeout(resolve, 10))
  t.same(sizes(), [2, 1])
})

t.test('on its end all that waits is handed over, or taken back', async t => {
  const { push, flights, sizes } = setUp()
  push(2)
  await turn()
  push(1)
  flights.handAll()
  t.same(sizes(), [2, 1])
  push(1)
  push(1, 'u')
  t.same(flights.takeBack().map(({ topic }) => topic), ['t', 'u'])
  await turn()
  flights.handAll()
  t.same(sizes(), [2, 1])
})

t.test('whatever is pushed and reported when: every record flies once, and each topic in order', async t => {
  const step = fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 5 }), topic: fc.constantFrom('a', 'b') }),
    fc.record({ report: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.constant('turn' as const))
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), async steps => {
    const { push, report, flown } = setUp()
    const reported = new Set<Record>()
    let pushed = 0
    for (const step of steps) {
      if (step === 'turn') await turn()
      else if ('push' in step) { push(step.push, step.topic); pushed += step.push } else {
        const open = flown.flat().filter(record => !reported.has(record))
        const some = open.slice(0, Math.ceil(open.length * step.report))
        for (const record of some) reported.add(record)
        report(some)
      }
    }
    for (let left = -1; left !== reported.size;) {
      left = reported.size
      await turn()
      const open = flown.flat().filter(record => !reported.has(record))
      for (const record of open) reported.add(record)
      report(open)
    }
    const all = flown.flat()
    if (all.length !== pushed || new Set(all).size !== pushed) return false
    return ['a', 'b'].every(topic => {
      const numbers = all.filter(record => record.topic === topic).map(({ n }) => n)
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
  const { push, report, flights, flown, sizes } = setUp()
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

t.test('a record is to blame where it was refused alone, and only there', async t => {
  const { push, report, flights, flown } = setUp()
  push(1)
  await turn()
  t.same(refuseAll(flights, flown[0]!), [false])
  push(1)
  await turn()
  push(1)
  await turn()
  t.same(refuseAll(flights, flown[1]!), [true], 'another one was handed over meanwhile')
  await turn()
  t.equal(flown.length, 3, 'and it waits for that')
  report(flown[2]!)
  await turn()
  t.same(flown[3]!.map(({ n }) => n), [1])
  t.same(refuseAll(flights, flown[3]!), [false])
})

t.test('what a later record of its partition has overtaken does not go again; what another partition has taken is no matter', async t => {
  const { push, flights, givenUp, flown } = setUp()
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
  const { push, report, flights, flown, sizes } = setUp()
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
  push(1)
  await turn()
  t.same(sizes().slice(5), [4, 1], 'as much as there is, and beside a short one')
})

t.test('after ten minutes a topic may take twice as much, and in the end as much as ever', async t => {
  const { clock, push, report, flights, flown, sizes } = setUp()
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
  push(4)
  await turn()
  t.same(sizes().slice(before), [4, 4])
})

t.test('what waits to go again keeps nobody waiting for good', async t => {
  const { push, flights, givenUp, flown, sizes } = setUp()
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
    const { push, flights, givenUp, flown } = setUp()
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
  const { push, flights, flown } = setUp()
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

  take (records: readonly Record[]): void {
    for (const record of records) this.#queues[record.n % 2]!.push(record)
  }

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
    const flights: Flights<Record> = new Flights(records => { brokers.take(records) }, records => { givenUp.push(...records) }, () => 0)
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
