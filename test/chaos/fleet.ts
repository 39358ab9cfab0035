import { startGateway, type Exit, type Gateway, type GatewayOptions } from '../support/gateway.js'
import { waitFor } from '../support/kafka.js'
import type { FaultLog, Fault } from './faults.js'
import type { Receiver } from './receiver.js'

/** One process, from its start to its end. */
export interface Life {
  readonly slot: number
  readonly pid: number
  readonly gateway: Gateway
  readonly startedAt: number
  /** SIGKILL was sent. */
  killedAt: number | null
  /** SIGTERM was sent. */
  stoppedAt: number | null
  paused: boolean
  exit: Exit | null
  exitedAt: number | null
}

export interface FleetOptions {
  /** Of the gateway in a slot. */
  readonly options: (slot: number) => GatewayOptions
  /** What those push their records to that have no module. */
  readonly receiver: Receiver
  readonly faults: FaultLog
  /** How long a graceful stop may take. */
  readonly stopLimitMs: number
  readonly violation: (text: string) => void
  readonly say: (text: string) => void
}

/** The gateways of a round, each in its slot, and everything that is done to them. */
export class Fleet {
  readonly lives: Life[] = []
  readonly #slots = new Map<number, Life>()
  readonly #options: FleetOptions

  constructor (options: FleetOptions) {
    this.#options = options
  }

  /** Those that run, also while SIGSTOP holds them: a client cannot tell. */
  get reachable (): Life[] {
    return [...this.#slots.values()].filter(life => life.stoppedAt === null && life.killedAt === null)
  }

  /** Those that can do something now. */
  get working (): Life[] {
    return this.reachable.filter(({ paused }) => !paused)
  }

  in (slot: number): Life | undefined {
    return this.#slots.get(slot)
  }

  async start (slot: number): Promise<Life> {
    const options = this.#options.options(slot)
    const target = options.handler === undefined ? this.#options.receiver.target() : undefined
    const env = { ...options.env, KAFKA_CLIENT_ID: `gateway-${slot}`, ...(target && { KAFKA_HANDLER: target.url }) }
    const gateway = await startGateway({ ...options, env })
    target?.belongsTo(gateway.pid)
    const life: Life = {
      slot, gateway, pid: gateway.pid, startedAt: Date.now(), killedAt: null, stoppedAt: null, paused: false, exit: null, exitedAt: null
    }
    this.lives.push(life)
    this.#slots.set(slot, life)
    gateway.exited.then(exit => {
      life.exit = exit
      life.exitedAt = Date.now()
      if (this.#slots.get(slot) === life) this.#slots.delete(slot)
      if (life.killedAt !== null) return
      if (life.stoppedAt === null) this.#violation(life, `ended by itself with ${nameOf(exit)}`)
      else if (exit.code !== 0) this.#violation(life, `ended its graceful stop with ${nameOf(exit)} instead of 0`)
    }, error => this.#violation(life, String(error)))
    this.#options.say(`gateway ${slot} is process ${life.pid}`)
    return life
  }

  /** SIGKILL. */
  async kill (life: Life): Promise<void> {
    life.killedAt = Date.now()
    await life.gateway.kill()
  }

  /** SIGTERM; it must end by itself, with 0, within its limit. */
  async stop (life: Life): Promise<void> {
    const { stopLimitMs } = this.#options
    life.stoppedAt = Date.now()
    life.gateway.signal('SIGTERM')
    await waitFor('a graceful stop', () => life.exit !== null, { timeoutMs: stopLimitMs }).catch(async () => {
      this.#violation(life, `had not ended ${stopLimitMs} ms after SIGTERM`)
      life.killedAt = Date.now()
      await life.gateway.kill()
    })
    this.#options.say(`gateway ${life.slot} (process ${life.pid}) has ended, ${Date.now() - life.stoppedAt} ms after SIGTERM`)
  }

  /** SIGSTOP and SIGCONT, as one fault. */
  pause (life: Life): Fault {
    life.paused = true
    const fault = this.#options.faults.begin('pause', life.pid)
    life.gateway.signal('SIGSTOP')
    return fault
  }

  resume (life: Life, fault: Fault): void {
    life.gateway.signal('SIGCONT')
    life.paused = false
    this.#options.faults.end(fault)
  }

  /** Whatever is left, at once. */
  async end (): Promise<void> {
    await Promise.all([...this.#slots.values()].map(life => this.kill(life)))
  }

  #violation ({ slot, pid }: Life, text: string): void {
    this.#options.violation(`gateway ${slot} (process ${pid}) ${text}`)
  }
}

function nameOf ({ code, signal }: Exit): string {
  return signal ?? `exit code ${code}`
}
