import Fastify from 'fastify'
import t from 'tap'
import metrics from '../../plugins/metrics.js'

t.test('what is to be set before a scrape is set, each time, in the order in which it was asked for', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metrics)
  const order: string[] = []
  let waiting = 0
  app.metrics.onScrape(() => {
    order.push('first')
    app.metrics.producer.pendingRecords.set(++waiting)
  })
  app.metrics.onScrape(() => { order.push('second') })
  t.match(await app.metrics.scrape(), /^sluice_produce_pending_records 1$/m)
  t.match(await app.metrics.scrape(), /^sluice_produce_pending_records 2$/m)
  t.same(order, ['first', 'second', 'first', 'second'])
})

t.test('two gateways in one process count apart', async t => {
  const [one, other] = [Fastify(), Fastify()]
  t.teardown(() => Promise.all([one.close(), other.close()]))
  await one.register(metrics)
  await other.register(metrics)
  one.metrics.producer.replaced.inc()
  t.match(await one.metrics.scrape(), /^sluice_produce_clients_replaced_total 1$/m)
  t.match(await other.metrics.scrape(), /^sluice_produce_clients_replaced_total 0$/m)
})

t.test('requests are counted by method, declared route and status', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(metrics)
  app.get('/things/:id', async (request, reply) => {
    const { id } = request.params as { id: string }
    if (id === 'none') return reply.code(404).send()
    if (id === 'fails') throw new Error('on purpose')
    return id
  })
  for (const path of ['1', '2', 'none', 'fails']) await app.inject(`/things/${path}`)
  await app.inject('/elsewhere/secret')
  const text = await app.metrics.scrape()
  const count = (route: string, status: number) =>
    text.includes(`sluice_http_request_duration_seconds_count{method="GET",route="${route}",status="${status}"} `) &&
    Number(text.split(`sluice_http_request_duration_seconds_count{method="GET",route="${route}",status="${status}"} `)[1].split('\n')[0])
  t.equal(count('/things/:id', 200), 2)
  t.equal(count('/things/:id', 404), 1)
  t.equal(count('/things/:id', 500), 1)
  t.equal(count('none', 404), 1)
  t.notMatch(text, /secret/)
})
