const NO_ENDS = []
const NO_HEADERS = Object.freeze([])

/**
 * A source for the engine without Kafka: one partition that never ends, its records made as they are asked for. A poll
 * takes a turn of the event loop, as the client's does, and acknowledges the commits that were made before it.
 */
export class MemorySource {
  #events = [{ type: 'assigned', partitions: [{ topic: 't', partition: 0 }] }]
  #offset = 0
  #commits = []
  #paused = false
  #keys
  #value = Buffer.alloc(100, 'x')
  commits = 0
  metadataBytes = 0

  /** @param keys how many different ones; 0: none */
  constructor (keys) {
    this.#keys = Array.from({ length: keys }, (_, n) => Buffer.from(`key-${n}`))
  }

  poll (max, timeoutMs) {
    return new Promise(resolve => {
      const empty = this.#paused || this.#events.length > 0
      const answer = () => {
        for (const acknowledge of this.#commits.splice(0)) acknowledge()
        resolve({ records: empty ? [] : Array.from({ length: max }, () => this.#next()), ends: NO_ENDS })
      }
      if (this.#paused) setTimeout(answer, timeoutMs)
      else setImmediate(answer)
    })
  }

  #next () {
    const offset = this.#offset++
    const key = this.#keys.length === 0 ? null : this.#keys[offset % this.#keys.length]
    return { topic: 't', partition: 0, offset, leaderEpoch: 0, timestamp: 0, key, value: this.#value, headers: NO_HEADERS, size: 100 }
  }

  get hasEvent () { return this.#events.length > 0 }
  takeEvent () { return this.#events.shift() }

  async committed (partitions) {
    return partitions.map(partition => ({ ...partition, offset: 0, metadata: '' }))
  }

  commit (offsets) {
    this.commits++
    for (const { metadata } of offsets) this.metadataBytes += metadata.length
    return new Promise(resolve => this.#commits.push(resolve))
  }

  async offsetsAt (position, partitions) {
    return partitions.map(({ topic, partition }) => ({ topic, partition, offset: 0 }))
  }

  async topicIds (topics) {
    return new Map(topics.map(topic => [topic, 'AAAAAAAAAAAAAAAAAAAAAQ']))
  }

  assign () {}
  unassign () {}
  pause () { this.#paused = true }
  resume () { this.#paused = false }
}
