/** Something that was done to the system. While one is open, and a while after, what it explains is no violation. */
export interface Fault {
  readonly what: 'kill' | 'stop' | 'pause' | 'join' | 'broker' | 'leaders' | 'partitions'
  /** The gateway it was done to. */
  readonly pid: number | null
  /** Milliseconds since 1970. */
  readonly from: number
  /** When everything was back: `null` as long as it is not. */
  to: number | null
}

/** After a broker or a member is back, clients need a while to hear of it: heartbeats, new coordinators, metadata. */
const AFTERMATH_MS = 15_000

/** Everything that was done in a round, and nothing that the gateways say about it. */
export class FaultLog {
  readonly faults: Fault[] = []

  begin (what: Fault['what'], pid: number | null = null): Fault {
    const fault: Fault = { what, pid, from: Date.now(), to: null }
    this.faults.push(fault)
    return fault
  }

  end (fault: Fault): void {
    fault.to ??= Date.now()
  }

  count (what: Fault['what']): number {
    return this.faults.filter(fault => fault.what === what).length
  }

  /** Since when nothing is disturbed, or `null` while something is. */
  get quietSince (): number | null {
    let since = 0
    for (const { to } of this.faults) {
      if (to === null) return null
      since = Math.max(since, to)
    }
    return since
  }

  /** The earliest fault that can have made the group give up this gateway, without its doing, by this time. */
  fencing (pid: number, at: number): Fault | undefined {
    return this.#around(at).find(fault => cutsOff(fault, pid))
  }

  /** The earliest fault that cut this gateway off at some time between these two. */
  fencingWithin (pid: number, from: number, to: number): Fault | undefined {
    return this.faults.find(fault => fault.from <= to && from <= (fault.to ?? Infinity) && cutsOff(fault, pid))
  }

  /** When the first member fell silent for which the group may still have waited at this time; `Infinity` for none. */
  silentSince (at: number, sessionTimeoutMs: number): number {
    const silent = this.faults.filter(({ what, from }) => (what === 'kill' || what === 'pause') && from <= at && at <= from + 2 * sessionTimeoutMs)
    return Math.min(Infinity, ...silent.map(({ from }) => from))
  }

  /** Whether a fault can have made a commit fail at about this time, or at some time between these two. */
  commitsMayFail (from: number, to = from): boolean {
    return this.#around(from, to).some(({ what }) => what === 'broker' || what === 'leaders')
  }

  /** What was open at some time between these two, or had ended shortly before. */
  #around (begin: number, end = begin): Fault[] {
    return this.faults.filter(({ from, to }) => from <= end && begin <= (to ?? Infinity) + AFTERMATH_MS)
  }
}

function cutsOff ({ what, pid }: Fault, gateway: number): boolean {
  return what === 'broker' || what === 'leaders' || (what === 'pause' && pid === gateway)
}
