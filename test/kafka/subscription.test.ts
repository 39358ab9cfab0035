import t from 'tap'
import { Subscription } from '../../src/kafka/subscription.js'

const nothing = { names: [], suffixes: [] }

t.test('names are taken as they are, whatever there is', async t => {
  const subscription = new Subscription(['b', 'a'], { names: ['a'], suffixes: ['b'] })
  t.notOk(subscription.hasPatterns)
  t.strictSame(subscription.resolve([]), { names: ['a', 'b'], missing: ['b', 'a'], unmatched: [] })
  t.strictSame(subscription.resolve(['c', '__d', 'b']), { names: ['a', 'b'], missing: ['a'], unmatched: [] })
})

t.test('a pattern is matched from the start of a name, and not to its end', async t => {
  const existing = ['orders', 'orders.new', 'reorders', 'Orders', 'order']
  const found = (pattern: string) => new Subscription([pattern], nothing).resolve(existing).names
  t.strictSame(found('^orders'), ['orders', 'orders.new'])
  t.strictSame(found('^orders$'), ['orders'])
  t.strictSame(found('^.*orders$'), ['orders', 'reorders'])
  t.strictSame(found('^Ord|reo'), ['Orders', 'reorders'], 'every alternative begins at the start')
  t.strictSame(found('^ord|ers'), ['order', 'orders', 'orders.new'])
})

t.test('a pattern finds neither what is excluded nor Kafka\'s own topics; what is listed is taken all the same', async t => {
  const existing = ['a', 'a.dlq', 'a.retry', 'failed', 'a.failed', '__consumer_offsets', '__transaction_state', '_schemas']
  const excluded = { names: ['failed', 'a.retry'], suffixes: ['.dlq'] }
  t.strictSame(new Subscription(['^.*'], excluded).resolve(existing), { names: ['_schemas', 'a', 'a.failed'], missing: [], unmatched: [] })
  t.strictSame(new Subscription(['^a', 'a.retry', 'b.dlq'], excluded).resolve(existing).names, ['a', 'a.failed', 'a.retry', 'b.dlq'])
})

t.test('a pattern that finds nothing is told, also one that finds only what is excluded', async t => {
  const subscription = new Subscription(['^a', '^b', 'c'], { names: [], suffixes: ['.dlq'] })
  t.strictSame(subscription.resolve(['a', 'b.dlq']), { names: ['a', 'c'], missing: ['c'], unmatched: ['^b'] })
  t.strictSame(subscription.resolve(['a', 'b.dlq', 'b']), { names: ['a', 'b', 'c'], missing: ['c'], unmatched: [] })
  t.strictSame(new Subscription(['^x'], nothing).resolve([]), { names: [], missing: [], unmatched: ['^x'] })
})

t.test('what was found is given up when it is missing for the second time in a row', async t => {
  const subscription = new Subscription(['^a', 'b'], nothing)
  const names = (...existing: string[]) => subscription.resolve(existing).names
  t.strictSame(names('a1', 'a2', 'b'), ['a1', 'a2', 'b'])
  t.strictSame(names('a1'), ['a1', 'a2', 'b'], 'once may be a broker that does not know it yet')
  t.strictSame(names('a1', 'a2'), ['a1', 'a2', 'b'])
  t.strictSame(names('a1'), ['a1', 'a2', 'b'], 'it is counted anew')
  t.strictSame(names('a1'), ['a1', 'b'])
  t.strictSame(names('a2'), ['a1', 'a2', 'b'])
  t.strictSame(names('a2'), ['a2', 'b'])
  t.strictSame(names(), ['a2', 'b'])
  t.strictSame(names(), ['b'])
})

t.test('it means its names, and whatever its patterns would find', async t => {
  const subscription = new Subscription(['payments', '^orders'], { names: ['orders.retry'], suffixes: ['.dlq'] })
  t.strictSame(['payments', 'orders', 'orders.eu', 'orders.dlq', 'orders.retry', 'reorders', '__orders'].filter(topic => subscription.means(topic)),
    ['payments', 'orders', 'orders.eu'])
})
