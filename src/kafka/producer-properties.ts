import type { ClientProperties, ProducerConfig } from '../config.js'

/** librdkafka weighs a record's framing too; our own limit is exact for key, value and headers. */
const framingBytes = 512

/** What the client is made with. What the promises rest on comes last, and nothing can change it. */
export function producerProperties (client: ClientProperties, settings: ProducerConfig): ClientProperties {
  const messageMaxBytes = Math.min(settings.messageMaxBytes + framingBytes, 1_000_000_000)
  return {
    // A broker that comes back is found soon.
    'reconnect.backoff.max.ms': 1_000,
    'socket.keepalive.enable': true,
    // A topic that is gone is reported soon, not at the delivery timeout.
    'topic.metadata.propagation.max.ms': 1_500,
    ...client,
    ...settings.client,
    'linger.ms': settings.lingerMs,
    'compression.type': settings.compression,
    'message.max.bytes': messageMaxBytes,
    'message.timeout.ms': settings.deliveryTimeoutMs,
    // Our own count refuses first: the client's limits only have to be larger.
    'queue.buffering.max.messages': Math.min(settings.queueMaxRecords + 10_000, 2_147_483_647),
    'queue.buffering.max.kbytes': Math.min(Math.ceil(settings.queueMaxBytes / 1024) + 65_536, 2_147_483_647),
    'allow.auto.create.topics': settings.allowAutoCreateTopics,
    acks: 'all',
    'enable.idempotence': true,
    partitioner: 'murmur2_random'
  }
}
