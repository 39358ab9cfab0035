import t from 'tap'
import { loadConfig } from '../src/config.js'
import { excludedTopics } from '../src/consumer.js'
import { Subscription } from '../src/kafka/subscription.js'

t.test('what one consumer writes is not found by another one\'s pattern', async t => {
  const cwd = t.testdir({
    'c.json': JSON.stringify({
      consumers: [
        { name: 'one', groupId: 'g1', topic: 'orders', deadLetterTopic: 'graveyard', retryTopic: 'again', retryOrder: 'loose' },
        { name: 'two', groupId: 'g2', topic: '^.*' },
        { name: 'three', groupId: 'g3', topic: 'graveyard', deadLetterTopic: 'off' }
      ]
    })
  })
  const { consumers } = loadConfig({ KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9092', KAFKA_CONSUMERS_FILE: 'c.json' }, { cwd }).config
  const excluded = excludedTopics(consumers)
  t.same(excluded, { names: ['graveyard', 'again'], suffixes: ['.dlq'] })
  const existing = ['orders', 'graveyard', 'again', 'orders.dlq', 'mail']
  t.same(new Subscription(consumers[1].topics, excluded).resolve(existing).names, ['mail', 'orders'])
  t.same(new Subscription(consumers[2].topics, excluded).resolve(existing).names, ['graveyard'], 'who names it gets it')
})
