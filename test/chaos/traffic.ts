import { setTimeout as delay } from 'node:timers/promises'
import type { Fleet, Life } from './fleet.js'
import type { Random } from './random.js'

/** One record that a client asked a gateway to produce, once: nothing is sent again, so that its id is in the topic at most once. */
export interface Sent {
  readonly id: string
  readonly key: string
  readonly poison: boolean
  /**
   * `acknowledged`: promised to be in the topic. `refused`: 503, promised not to be and never to come. `unknown`: 504, or no answer.
   */
  outcome: 'under way' | 'acknowledged' | 'refused' | 'unknown'
  partition: number
  /** −1 for a receipt without one. */
  offset: number
  /** Which answer it was, for whoever reads a failure. */
  answer: string
  answeredAt: number
}

export interface TrafficOptions {
  readonly topic: string
  readonly fleet: Fleet
  readonly random: Random
  /** Records a second, if the gateways keep up. */
  readonly rate: number
  readonly acknowledged: (sent: Sent) => void
  readonly violation: (text: string) => void
}

const CLIENTS = 12
const KEYS_PER_CLIENT = 5
/** What the gateway is asked to wait for Kafka, and what a client waits for the gateway. */
const REQUEST_TIMEOUT_SECONDS = 5
const CLIENT_TIMEOUT_MS = 8000
/** A client stays away this long from a gateway that gave it no answer. */
const AVOID_MS = 2000
const REFUSALS = new Set(['SLUICE_QUEUE_FULL', 'SLUICE_BROKER_UNAVAILABLE', 'SLUICE_NOT_PRODUCED', 'SLUICE_CLOSING'])

interface Answer { status: number, body: { code?: string, partition?: number, offset?: number, records?: Answer['body'][] } }

/**
 * Clients that produce through whichever gateway is up. Each has keys of its own and waits for one answer before it asks
 * again, so that the acknowledged records of a key are in the topic in the order of their ids.
 */
export class Traffic {
  readonly sent: Sent[] = []
  readonly #options: TrafficOptions
  readonly #avoid = new Map<number, number>()
  readonly #running: Promise<void>[]
  #stopped = false

  constructor (options: TrafficOptions) {
    this.#options = options
    this.#running = Array.from({ length: CLIENTS }, (_, client) => this.#client(client, options.random.fork(client)))
  }

  async stop (): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
  }

  async #client (client: number, random: Random): Promise<void> {
    for (let n = 0; !this.#stopped;) {
      const size = random.chance(0.4) ? 1 : random.between(2, 8)
      const beganAt = performance.now()
      const life = this.#choose(random)
      if (life === undefined) {
        await delay(100)
        continue
      }
      const records = Array.from({ length: size }, () => this.#make(client, n++, random))
      this.sent.push(...records.map(({ sent }) => sent))
      await this.#send(life, records)
      const paceMs = size * CLIENTS * 1000 / this.#options.rate
      await delay(Math.max(5, paceMs * (0.5 + random.next()) - (performance.now() - beganAt)))
    }
  }

  #make (client: number, n: number, random: Random): { sent: Sent, value: object } {
    const id = `${client}-${n}`
    const key = `key-${client}-${random.between(1, KEYS_PER_CLIENT)}`
    const kind = random.weighted([
      [922, {}], [40, { fails: random.between(1, 2) }], [20, { ms: random.between(200, 1200) }],
      // So long that some outlast a loss of their partition, and end when the same gateway has it again.
      [12, { ms: random.between(1500, 4000) }],
      [4, { poison: random.pick(['retried', 'hopeless']) }], [1, { hangs: true }]
    ] as const)
    const value = { id, ms: random.between(0, 12), ...kind }
    return {
      value,
      sent: { id, key, poison: 'poison' in kind, outcome: 'under way', partition: -1, offset: -1, answer: '', answeredAt: 0 }
    }
  }

  #choose (random: Random): Life | undefined {
    const reachable = this.#options.fleet.reachable
    const liked = reachable.filter(({ pid }) => (this.#avoid.get(pid) ?? 0) < performance.now())
    return liked.length > 0 ? random.pick(liked) : reachable.length > 0 ? random.pick(reachable) : undefined
  }

  async #send (life: Life, records: { sent: Sent, value: object }[]): Promise<void> {
    const bodies = records.map(({ sent: { key }, value }) => ({ key, value }))
    const all = records.map(({ sent }) => sent)
    let answer: Answer
    try {
      const response = await fetch(`${life.gateway.url}/topics/${this.#options.topic}/records`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'request-timeout': String(REQUEST_TIMEOUT_SECONDS) },
        body: JSON.stringify(bodies.length === 1 ? bodies[0] : { records: bodies }),
        signal: AbortSignal.timeout(CLIENT_TIMEOUT_MS)
      })
      answer = { status: response.status, body: await response.json() as Answer['body'] }
    } catch (error) {
      const { name, message, cause } = error as Error
      this.#avoid.set(life.pid, performance.now() + AVOID_MS)
      for (const sent of all) this.#settle(sent, 'unknown', `${name}: ${(cause as Error | undefined)?.message ?? message}`)
      return
    }
    const { status, body } = answer
    const each = body.records ?? all.map(() => body)
    if (each.length !== all.length) {
      this.#options.violation(`${all.length} records were sent to gateway ${life.slot}, ${each.length} were answered`)
    }
    all.forEach((sent, i) => this.#judge(sent, life, status, each[i] ?? {}))
  }

  #judge (sent: Sent, life: Life, status: number, body: Answer['body']): void {
    if (body.partition !== undefined && body.offset !== undefined) {
      sent.partition = body.partition
      sent.offset = body.offset
      this.#settle(sent, 'acknowledged', `${status}`)
      this.#options.acknowledged(sent)
    } else if (body.code !== undefined && REFUSALS.has(body.code)) {
      this.#avoid.set(life.pid, performance.now() + AVOID_MS)
      this.#settle(sent, 'refused', body.code)
    } else {
      this.#settle(sent, 'unknown', `${status} ${body.code ?? JSON.stringify(body)}`)
      if (body.code !== 'SLUICE_DELIVERY_UNKNOWN') this.#options.violation(`gateway ${life.slot} answered a good record with ${sent.answer}`)
    }
  }

  #settle (sent: Sent, outcome: Sent['outcome'], answer: string): void {
    sent.outcome = outcome
    sent.answer = answer
    sent.answeredAt = Date.now()
  }
}
