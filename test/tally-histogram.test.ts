import fc from 'fast-check'
import { Histogram, Registry } from 'prom-client'
import t from 'tap'
import { TallyHistogram } from '../src/tally-histogram.js'

const buckets = [0.001, 0.5, 1, 10]

t.test('for any observations it shows what the library\'s own histogram shows', async () => {
  const observation = fc.record({ topic: fc.constantFrom('a', 'b'), seconds: fc.oneof(fc.constantFrom(0, 0.001, 0.5, 1, 10, 10.1), fc.double({ min: 0, max: 20, noNaN: true })) })
  await fc.assert(fc.asyncProperty(fc.array(observation), async observations => {
    const [ours, theirs] = [new Registry(), new Registry()]
    const tallies = new TallyHistogram(ours, { name: 'seconds', help: 'Help', buckets, labels: ['topic'] })
    const histogram = new Histogram({ name: 'seconds', help: 'Help', buckets, labelNames: ['topic'], registers: [theirs] })
    for (const { topic, seconds } of observations) {
      tallies.of(topic).observe(seconds)
      histogram.observe({ topic }, seconds)
    }
    const sorted = async (registry: Registry) => (await registry.metrics()).split('\n')
      .map(line => line.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(',').sort().join(',')}}`)).filter(line => line !== '').sort()
    t.strictSame(await sorted(ours), await sorted(theirs))
  }), { numRuns: 50 })
})

t.test('a name can be taken once only, and a reset begins anew', async t => {
  const registry = new Registry()
  const tallies = new TallyHistogram(registry, { name: 'seconds', help: 'Help', buckets, labels: ['topic'] })
  t.throws(() => new TallyHistogram(registry, { name: 'seconds', help: 'Help', buckets, labels: ['topic'] }))
  tallies.of('a').observe(1)
  t.match(await registry.metrics(), /seconds_count\{topic="a"\} 1/)
  registry.resetMetrics()
  t.notMatch(await registry.metrics(), /seconds_count/)
})
