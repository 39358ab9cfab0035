import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { Flights, type Flight } from '../../src/kafka/flights.js'

class Record {
  flight: Flight | null = null
  constructor (readonly topic: string, readonly n: number) {}
}

function setUp () {
  const flown: Record[][] = []
  const clock = { now: 0 }
  const flights = new Flights<Record>(records => { flown.push([...records]) }, () => clock.now)
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
  return { flySlowly, clock, flown, flights, push, report, sizes: () => flown.map(({ length }) => length) }
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
