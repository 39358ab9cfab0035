const topicName = /^[A-Za-z0-9._-]{1,249}$/

/** As a JSON Schema has it. */
export const topicNamePattern = '^(?!\\.{1,2}$)[A-Za-z0-9._-]{1,249}$'

/** Whether Kafka would take this as the name of a topic. */
export function isTopicName (name: unknown): name is string {
  return typeof name === 'string' && topicName.test(name) && name !== '.' && name !== '..'
}

/** Topics that hold what Kafka and its registries live on: nobody writes there through the gateway. */
export function isReservedTopic (name: string): boolean {
  return name.startsWith('__') || name === '_schemas'
}
