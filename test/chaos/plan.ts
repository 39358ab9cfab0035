import { Random } from './random.js'

/** `full`: everything. `graceful`: only what an operator does on purpose, so that nothing may be handled twice. */
export type Profile = 'full' | 'graceful'

export const GATEWAYS = 3
export const BROKERS = 3

/** What is done to the system under test. Slots are counted from 1; a time says how long something stays away. */
export type Action =
  | { readonly what: 'kill gateway' | 'stop gateway' | 'pause gateway', readonly slot: number, readonly forMs: number }
  /** All that are at work, beyond their session: the group is empty, and each may get again what it had. */
  | { readonly what: 'pause all gateways', readonly forMs: number }
  | { readonly what: 'fourth gateway', readonly forMs: number, readonly end: 'SIGTERM' | 'SIGKILL' }
  /** `coordinator`: the broker that keeps the group's offsets when the time has come. */
  | { readonly what: 'kill broker' | 'stop broker' | 'pause broker', readonly broker: number | 'coordinator', readonly forMs: number }
  | { readonly what: 'move leaders', readonly of: 'topic' | 'offsets' }
  | { readonly what: 'add partitions' }
  /** Nothing is disturbed until everything acknowledged so far is handled. */
  | { readonly what: 'settle' }

export interface Step { readonly atMs: number, readonly action: Action }

export interface PlanOptions {
  readonly profile: Profile
  readonly lengthMs: number
  readonly sessionTimeoutMs: number
  /** Actions that must be among them, for a short run that is to show something certain; they come first. */
  readonly first?: readonly Action['what'][]
}

/** Time between the beginnings of two actions. They overlap: a broker may be away while a gateway is killed. */
const GAP_MS: Record<Profile, [least: number, most: number]> = { full: [400, 4500], graceful: [1500, 6000] }

/** What happens, and when: it follows from the seed alone. What a step needs may still make it wait when its time has come. */
export function makePlan (random: Random, { profile, lengthMs, sessionTimeoutMs, first = [] }: PlanOptions): Step[] {
  const kinds = profile === 'full' ? full : graceful
  const steps: Step[] = []
  const wanted = [...first]
  let partitionsAdded = false
  for (let atMs = random.between(500, 2500); atMs < lengthMs; atMs += random.between(...GAP_MS[profile])) {
    let what = wanted.shift() ?? random.weighted(kinds)
    // Once: it is for good.
    if (what === 'add partitions' && partitionsAdded) what = 'stop gateway'
    partitionsAdded ||= what === 'add partitions'
    steps.push({ atMs, action: makeAction(what, random, profile, sessionTimeoutMs) })
  }
  return steps
}

/**
 * The last thing that happens in a full round, and the clients stop in the middle of it: what was handled by then and could not be
 * committed has to be committed afterwards, though no record comes any more that would remind anybody.
 */
export function lastBlow (random: Random): Action {
  const what = random.weighted([[2, 'kill broker'], [1, 'pause broker'], [1, 'stop broker']] as const)
  return { what, broker: 'coordinator', forMs: random.between(3000, 8000) }
}

type Kinds = ReadonlyArray<readonly [weight: number, what: Action['what']]>

const full: Kinds = [
  [20, 'kill gateway'], [14, 'stop gateway'], [14, 'pause gateway'], [5, 'pause all gateways'], [6, 'fourth gateway'],
  [9, 'kill broker'], [9, 'pause broker'], [5, 'stop broker'], [8, 'move leaders'], [3, 'add partitions'], [10, 'settle']
]

const graceful: Kinds = [[50, 'stop gateway'], [20, 'fourth gateway'], [5, 'add partitions'], [15, 'settle']]

function makeAction (what: Action['what'], random: Random, profile: Profile, sessionTimeoutMs: number): Action {
  const slot = random.between(1, GATEWAYS)
  const broker = random.chance(0.4) ? 'coordinator' : random.between(1, BROKERS)
  switch (what) {
    case 'kill gateway': return { what, slot, forMs: random.between(0, 8000) }
    case 'stop gateway': return { what, slot, forMs: random.between(0, 5000) }
    // Half of them are over before the group notices, half are fenced.
    case 'pause gateway': return {
      what, slot, forMs: random.chance(0.5) ? random.between(200, sessionTimeoutMs / 2) : sessionTimeoutMs + random.between(1500, 5000)
    }
    case 'pause all gateways': return { what, forMs: sessionTimeoutMs + random.between(1500, 4000) }
    case 'fourth gateway': return { what, forMs: random.between(4000, 14_000), end: profile === 'full' && random.chance(0.4) ? 'SIGKILL' : 'SIGTERM' }
    case 'kill broker': return { what, broker, forMs: random.between(0, 8000) }
    case 'stop broker': return { what, broker, forMs: random.between(0, 5000) }
    // Some are over before the controller notices, some not.
    case 'pause broker': return { what, broker, forMs: random.between(500, 9000) }
    case 'move leaders': return { what, of: random.pick(['topic', 'offsets'] as const) }
    default: return { what }
  }
}

export function describe (action: Action): string {
  switch (action.what) {
    case 'kill gateway': return `kill gateway ${action.slot} (SIGKILL), start it again after ${action.forMs} ms`
    case 'stop gateway': return `stop gateway ${action.slot} (SIGTERM), start it again after ${action.forMs} ms`
    case 'pause gateway': return `pause gateway ${action.slot} (SIGSTOP) for ${action.forMs} ms`
    case 'pause all gateways': return `pause all gateways (SIGSTOP) for ${action.forMs} ms`
    case 'fourth gateway': return `a fourth gateway joins for ${action.forMs} ms, then ${action.end}`
    case 'kill broker': return `kill broker ${action.broker} (SIGKILL), start it again after ${action.forMs} ms`
    case 'stop broker': return `stop broker ${action.broker} (SIGTERM), start it again after ${action.forMs} ms`
    case 'pause broker': return `pause broker ${action.broker} (SIGSTOP) for ${action.forMs} ms`
    case 'move leaders': return `move the leaders of the ${action.of === 'topic' ? 'topic' : 'group\'s offsets'}`
    case 'add partitions': return 'add partitions to the topic'
    case 'settle': return 'settle: no fault until everything acknowledged so far is handled'
  }
}
