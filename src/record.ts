/** What a record is, on its way into Kafka and out of it. Types only; everything else imports from here. */

/** One header. Kafka allows a name more than once and keeps the order, hence a list and not an object. */
export interface RecordHeader {
  readonly name: string
  readonly value: Buffer
}

/** A record that was read from Kafka. */
export interface KafkaRecord {
  readonly topic: string
  readonly partition: number
  /** Kafka's 64-bit offset; the adapter refuses any that a JavaScript number cannot hold exactly. */
  readonly offset: number
  /** Epoch of the leader that wrote it, −1 where the broker did not say. */
  readonly leaderEpoch: number
  /** Milliseconds since 1970, −1 where the record has none. */
  readonly timestamp: number
  /** `null`: no key. An empty key is an empty Buffer. */
  readonly key: Buffer | null
  /** `null`: a tombstone. An empty value is an empty Buffer. */
  readonly value: Buffer | null
  /** Headers in their order. A header whose value is null in Kafka arrives empty: the client does not tell them apart. */
  readonly headers: readonly RecordHeader[]
  /** Bytes of key, value and headers: what the window's limit in bytes counts. */
  readonly size: number
}

/** A record to be written. Strings are sent as their UTF-8 bytes. */
export interface OutgoingRecord {
  readonly topic: string
  /** Absent or `null`: the partitioner chooses, by the key where there is one (murmur2, as Java's does). */
  readonly partition?: number | null
  readonly key?: Buffer | string | null
  readonly value: Buffer | string | null
  readonly headers?: readonly { readonly name: string, readonly value: Buffer | string }[]
  /** Milliseconds since 1970. Absent or `null`: now. */
  readonly timestamp?: number | null
}

/** Where an acknowledged record is. */
export interface Receipt {
  topic: string
  partition: number
  offset: number
  /** Milliseconds since 1970. */
  timestamp: number
}
