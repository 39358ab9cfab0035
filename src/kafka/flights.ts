import { SmallBatches, type Repeatable } from './small-batches.js'

/** What travels in flights; the other fields are this file's own. */
export interface Passenger extends Repeatable {
  /** Bytes. */
  readonly size: number
  flight: Flight | null
}

/** Records of one topic that were handed over together. */
export class Flight {
  readonly size: number
  readonly departedAt: number
  /** Those that have not been reported. */
  left: number
  landed = false
  /** One record, and nothing else of its topic has been under way at the same time. */
  alone: boolean

  constructor (size: number, departedAt: number, alone: boolean) {
    this.size = this.left = size
    this.departedAt = departedAt
    this.alone = alone
  }
}

/** One topic's records: those that wait, and how many flights of earlier ones are under way. */
class Queue<T extends Repeatable> {
  waiting: T[] = []
  /** Handed over, and not reported. */
  handed = 0
  /** Bytes of those. */
  bytes = 0
  /** The flight that is under way alone. */
  alone: Flight | null = null
  /** Set where Kafka has refused batches. */
  small: SmallBatches<T> | null = null
  /** It goes at the end of this turn of the event loop. */
  ready = false
  readonly underway: Flight[] = []
  /** How long the last flight took that has landed. */
  lastTookMs = 0
  timer: NodeJS.Timeout | undefined
}

/** A flight that has not landed after this keeps nobody waiting any longer: a partition may have no leader for a minute. */
const WAIT_MAX_MS = 100
/** The same where batches were refused, and one flight at a time goes: sooner it would share a batch with the next one. */
const SMALL_WAIT_MAX_MS = 1_000
/** What a record takes in a batch beside its bytes. */
const FRAMING_BYTES = 32
/** Flights that take no longer may go beside one another, so many. Of longer ones the next would wait in the client, which spins then. */
const SHORT_FLIGHT_MS = 3
const SHORT_FLIGHTS_MAX = 4
/** Topics that are remembered though nothing of them is under way, with how long their flights took. */
const KEPT_QUEUES = 1_000
/** So many records are worth a second flight all the same. */
const SECOND_FLIGHT_RECORDS = 1_000

/**
 * Hands records over in flights: the next one goes when the one before has landed, with all that has come meanwhile. A topic
 * with little to do hands each record over at once; the busier it is, or the slower the brokers, the larger are the flights.
 *
 * Kafka's client does something alike by itself: beyond four records under way it sends a partition's next request after the answer to
 * the one before. But its thread spins for as long as records wait there whose linger is over. With brokers that take 10 ms
 * that was 0.7 of a core at 2,000 records a second, and nothing was faster for it.
 *
 * A flight has landed once half of its records are reported, so that one slow partition does not hold up the others. Where flights are
 * short, some may go beside one another: callers that wait for their answers would march in step otherwise.
 *
 * Of a topic that has refused a batch one flight goes at a time, of no more bytes than may be one batch (see `SmallBatches`), and what was
 * refused for the company that it was in goes again.
 */
export class Flights<T extends Passenger> {
  readonly #hand: (records: readonly T[]) => void
  readonly #giveUp: (records: readonly T[]) => void
  readonly #now: () => number
  #pushed = 0
  readonly #queues = new Map<string, Queue<T>>()
  // What arrives in one turn of the event loop goes together, at its end.
  #ready: Queue<T>[] = []
  // Whether a topic has ever refused a batch.
  #anySmall = false
  #found: Queue<T> | null = null
  #foundTopic = ''

  /**
   * @param hand is called with the records of one topic, in their order; each is to be `reported` once
   * @param giveUp is called with records that were `refused`, and cannot go again: later ones have overtaken them, or it took too long
   * @param now milliseconds of a clock that does not jump
   */
  constructor (hand: (records: readonly T[]) => void, giveUp: (records: readonly T[]) => void, now = () => performance.now()) {
    this.#hand = hand
    this.#giveUp = giveUp
    this.#now = now
  }

  /** Adds a record behind the earlier ones of its topic. */
  push (topic: string, record: T): void {
    const queue = this.#queueOf(topic)
    record.order = ++this.#pushed
    queue.waiting.push(record)
    this.#consider(queue)
  }

  /** The record's way is over, whichever way. */
  reported (topic: string, record: T): void {
    if (record.flight !== null) this.#left(topic, this.#queueOf(topic), record, record.flight)
  }

  /** The record was written to this partition; to be called before `reported`. */
  written (topic: string, record: T, partition: number): void {
    if (this.#anySmall) this.#queueOf(topic).small?.written(record, partition)
  }

  /**
   * Instead of `reported`: Kafka has refused the batch that the record was in. It goes again, or is given up, later. Returns false where it
   * was alone in it: then it is to blame, and is to be `reported`.
   *
   * @param isTooLarge the batch was; else a record in it was not valid
   */
  refused (topic: string, record: T, partition: number, isTooLarge: boolean): boolean {
    const { flight } = record
    if (flight === null || flight.alone) return false
    const queue = this.#queueOf(topic)
    this.#anySmall = true
    queue.small ??= new SmallBatches()
    if (!queue.small.holds) {
      clearTimeout(queue.timer)
      queue.timer = setTimeout(this.#waitedLongEnough, SMALL_WAIT_MAX_MS, queue)
    }
    queue.small.refused(record, partition, queue.bytes, isTooLarge, this.#now())
    this.#left(topic, queue, record, flight)
    return true
  }

  /** Hands over all that waits, whatever is under way. */
  handAll (): void {
    for (const queue of this.#queues.values()) {
      if (queue.small !== null) this.#giveUp(queue.small.takeBack())
      queue.small = null
      this.#depart(queue)
    }
  }

  /** Takes back all that waits. */
  takeBack (): T[] {
    return [...this.#queues.values()].flatMap(queue => [...queue.small?.takeBack() ?? [], ...queue.waiting.splice(0)])
  }

  #left (topic: string, queue: Queue<T>, record: T, flight: Flight): void {
    record.flight = null
    flight.left--
    queue.handed--
    queue.bytes -= record.size + FRAMING_BYTES
    if (!flight.landed && flight.left * 2 <= flight.size) {
      flight.landed = true
      queue.lastTookMs = this.#now() - flight.departedAt
      queue.underway.splice(queue.underway.indexOf(flight), 1)
      if (queue.small === null && queue.waiting.length > 0) this.#consider(queue)
    }
    if (queue.handed > 0) return
    if (queue.small !== null) this.#release(queue, queue.small)
    if (queue.waiting.length === 0 && this.#queues.size > KEPT_QUEUES && !queue.ready) this.#forget(topic, queue)
  }

  /** Nothing of it is under way any more. */
  #release (queue: Queue<T>, small: SmallBatches<T>): void {
    const { again, overtaken } = small.release()
    if (again.length > 0) queue.waiting = [...again, ...queue.waiting]
    if (small.outgrown(queue.waiting[0], this.#now())) queue.small = null
    clearTimeout(queue.timer)
    queue.timer = undefined
    if (queue.waiting.length > 0) this.#consider(queue)
    if (overtaken.length > 0) this.#giveUp(overtaken)
  }

  #consider (queue: Queue<T>): void {
    if (queue.ready) return
    if (this.#mayGo(queue)) {
      queue.ready = true
      if (this.#ready.push(queue) === 1) setImmediate(this.#departAll)
    } else {
      queue.timer ??= setTimeout(this.#waitedLongEnough, queue.small === null ? WAIT_MAX_MS : SMALL_WAIT_MAX_MS, queue)
    }
  }

  #mayGo ({ waiting, underway, lastTookMs, small, handed }: Queue<T>): boolean {
    if (small !== null) return handed === 0
    if (underway.length === 0) return true
    if (lastTookMs <= SHORT_FLIGHT_MS) return underway.length < SHORT_FLIGHTS_MAX
    return underway.length === 1 && waiting.length >= SECOND_FLIGHT_RECORDS
  }

  readonly #departAll = (): void => {
    const ready = this.#ready
    this.#ready = []
    for (const queue of ready) {
      queue.ready = false
      // Something was refused in between: it goes first.
      if (queue.small === null || queue.handed === 0) this.#depart(queue)
    }
  }

  #depart (queue: Queue<T>): void {
    if (queue.waiting.length === 0) return
    const records = queue.small === null ? queue.waiting : fitting(queue.waiting, queue.small.maxBytes)
    queue.waiting = records.length === queue.waiting.length ? [] : queue.waiting.slice(records.length)
    const flight = new Flight(records.length, this.#now(), records.length === 1 && queue.handed === 0)
    if (queue.alone !== null) queue.alone.alone = false
    queue.alone = flight.alone ? flight : null
    queue.underway.push(flight)
    queue.handed += records.length
    for (const record of records) {
      record.flight = flight
      queue.bytes += record.size + FRAMING_BYTES
    }
    this.#hand(records)
  }

  readonly #waitedLongEnough = (queue: Queue<T>): void => {
    queue.timer = undefined
    // Where one is to go again, what is under way still might overtake it.
    if (queue.small?.holds === true) this.#giveUp(queue.small.takeBack())
    if (queue.waiting.length === 0) return
    for (const flight of queue.underway.splice(0)) flight.landed = true
    queue.lastTookMs = WAIT_MAX_MS
    if (queue.small === null) this.#consider(queue)
    else this.#depart(queue)
    if (queue.waiting.length > 0) this.#consider(queue)
  }

  #queueOf (topic: string): Queue<T> {
    if (this.#found !== null && topic === this.#foundTopic) return this.#found
    let queue = this.#queues.get(topic)
    if (queue === undefined) this.#queues.set(topic, queue = new Queue())
    this.#found = queue
    this.#foundTopic = topic
    return queue
  }

  /** Names of topics are the callers': not every one is kept that has nothing to do. */
  #forget (topic: string, queue: Queue<T>): void {
    clearTimeout(queue.timer)
    this.#queues.delete(topic)
    if (this.#found === queue) this.#found = null
  }
}

/** The first of them that weigh no more together; one at least. */
function fitting<T extends Passenger> (records: T[], maxBytes: number): T[] {
  let bytes = 0
  const end = records.findIndex(({ size }, n) => (bytes += size + FRAMING_BYTES) > maxBytes && n > 0)
  return end === -1 ? records : records.slice(0, end)
}
