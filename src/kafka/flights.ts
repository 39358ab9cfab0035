/** What travels in flights; the field is this file's own. */
export interface Passenger {
  flight: Flight | null
}

/** Records of one topic that were handed over together. */
export class Flight {
  readonly size: number
  readonly departedAt: number
  /** Those that have not been reported. */
  left: number
  landed = false

  constructor (size: number, departedAt: number) {
    this.size = this.left = size
    this.departedAt = departedAt
  }
}

/** One topic's records: those that wait, and how many flights of earlier ones are under way. */
class Queue<T> {
  waiting: T[] = []
  /** It goes at the end of this turn of the event loop. */
  ready = false
  readonly underway: Flight[] = []
  /** How long the last flight took that has landed. */
  lastTookMs = 0
  timer: NodeJS.Timeout | undefined
}

/** A flight that has not landed after this keeps nobody waiting any longer: a partition may have no leader for a minute. */
const WAIT_MAX_MS = 100
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
 */
export class Flights<T extends Passenger> {
  readonly #hand: (records: readonly T[]) => void
  readonly #now: () => number
  readonly #queues = new Map<string, Queue<T>>()
  // What arrives in one turn of the event loop goes together, at its end.
  #ready: Queue<T>[] = []
  #found: Queue<T> | null = null
  #foundTopic = ''

  /**
   * @param hand is called with the records of one topic, in their order; each is to be `reported` once
   * @param now milliseconds of a clock that does not jump
   */
  constructor (hand: (records: readonly T[]) => void, now = () => performance.now()) {
    this.#hand = hand
    this.#now = now
  }

  /** Adds a record behind the earlier ones of its topic. */
  push (topic: string, record: T): void {
    const queue = this.#queueOf(topic)
    queue.waiting.push(record)
    this.#consider(queue)
  }

  /** The record's way is over, whichever way. */
  reported (topic: string, record: T): void {
    const { flight } = record
    if (flight === null) return
    record.flight = null
    flight.left--
    if (flight.landed || flight.left * 2 > flight.size) return
    const queue = this.#queues.get(topic)
    if (queue !== undefined) this.#land(topic, queue, flight)
  }

  /** Hands over all that waits, whatever is under way. */
  handAll (): void {
    for (const queue of this.#queues.values()) this.#depart(queue)
  }

  /** Takes back all that waits. */
  takeBack (): T[] {
    return [...this.#queues.values()].flatMap(queue => queue.waiting.splice(0))
  }

  #land (topic: string, queue: Queue<T>, flight: Flight): void {
    flight.landed = true
    queue.lastTookMs = this.#now() - flight.departedAt
    queue.underway.splice(queue.underway.indexOf(flight), 1)
    if (queue.waiting.length > 0) this.#consider(queue)
    else if (queue.underway.length === 0 && this.#queues.size > KEPT_QUEUES && !queue.ready) this.#forget(topic, queue)
  }

  #consider (queue: Queue<T>): void {
    if (queue.ready) return
    if (this.#mayGo(queue)) {
      queue.ready = true
      if (this.#ready.push(queue) === 1) setImmediate(this.#departAll)
    } else {
      queue.timer ??= setTimeout(this.#waitedLongEnough, WAIT_MAX_MS, queue)
    }
  }

  #mayGo ({ waiting, underway, lastTookMs }: Queue<T>): boolean {
    if (underway.length === 0) return true
    if (lastTookMs <= SHORT_FLIGHT_MS) return underway.length < SHORT_FLIGHTS_MAX
    return underway.length === 1 && waiting.length >= SECOND_FLIGHT_RECORDS
  }

  readonly #departAll = (): void => {
    const ready = this.#ready
    this.#ready = []
    for (const queue of ready) {
      queue.ready = false
      this.#depart(queue)
    }
  }

  #depart (queue: Queue<T>): void {
    const records = queue.waiting
    if (records.length === 0) return
    queue.waiting = []
    const flight = new Flight(records.length, this.#now())
    queue.underway.push(flight)
    for (const record of records) record.flight = flight
    this.#hand(records)
  }

  readonly #waitedLongEnough = (queue: Queue<T>): void => {
    queue.timer = undefined
    if (queue.waiting.length === 0) return
    for (const flight of queue.underway.splice(0)) flight.landed = true
    queue.lastTookMs = WAIT_MAX_MS
    this.#consider(queue)
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
