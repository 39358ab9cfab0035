import { ConfigError, quoted } from './config-error.js'
import type { RawVariables } from './environment.js'

interface ProtectedProperty {
  /** The property and its aliases. */
  readonly names: readonly string[]
  /** Values that say what Sluice does anyway; empty where every value says otherwise. */
  readonly same: readonly string[]
  /** How it is, and why. */
  readonly because: string
}

/** What Sluice's promises rest on: nobody can change it, and whoever tries must be told, not ignored. */
export const protectedProperties: readonly ProtectedProperty[] = [
  {
    names: ['acks', 'request.required.acks'],
    same: ['all', '-1'],
    because: 'acks is always all: a produce request succeeds only once every in-sync replica has its record'
  },
  {
    names: ['enable.idempotence', 'enable.idempotency'],
    same: ['true'],
    because: 'enable.idempotence is always true: without it the client\'s own retries would reorder and repeat records'
  },
  {
    names: ['enable.auto.commit', 'auto.commit.enable'],
    same: ['false'],
    because: 'enable.auto.commit is always false: offsets are committed only after every record below them is completed'
  },
  {
    names: ['enable.auto.offset.store'],
    same: ['false'],
    because: 'enable.auto.offset.store is always false: offsets are committed only after every record below them is completed'
  },
  {
    names: ['partitioner'],
    same: ['murmur2_random'],
    because: 'partitioner is always murmur2_random: the same key goes to the same partition as from Java'
  },
  {
    names: ['partitioner.class'],
    same: ['org.apache.kafka.clients.producer.internals.DefaultPartitioner'],
    because: 'the partitioner is always Java\'s default: the same key goes to the same partition as from Java'
  },
  {
    names: ['transactional.id'],
    same: [],
    because: 'transactional.id is never taken from outside: two processes with one id would fence each other off'
  },
  {
    names: ['delivery.report.only.error'],
    same: ['false'],
    because: 'delivery.report.only.error is always false: a produce request is answered when its record\'s report arrives'
  },
  {
    names: ['queuing.strategy'],
    same: ['fifo'],
    because: 'queuing.strategy is always fifo: records are sent in the order in which they were accepted'
  },
  {
    names: ['enable.partition.eof'],
    same: ['true'],
    because: 'enable.partition.eof is always true: the end of a partition is what moves its commit offset past transaction markers'
  },
  {
    names: ['plugin.library.paths', 'ssl.engine.location'],
    same: [],
    because: 'native libraries are never loaded on a setting\'s word'
  }
]

const byProperty = new Map(protectedProperties.flatMap(entry => entry.names.map(name => [name, entry])))
const byVariable = new Map([...byProperty].map(([name, entry]) => [variableName(name), entry]))

function variableName (property: string): string {
  return `KAFKA_${property.toUpperCase().replaceAll('.', '_')}`
}

/** True for a property (of a properties file) that is protected; then `value` said the same as Sluice. @throws {ConfigError} */
export function isProtectedProperty (property: string, value: string, where: string): boolean {
  return check(byProperty.get(property), value, where)
}

/** True for a protected property's variable. @throws {ConfigError} where its value says otherwise */
export function isProtectedVariable (variable: string, raw: RawVariables): boolean {
  return check(byVariable.get(variable), raw[variable] ?? '', variable)
}

function check (entry: ProtectedProperty | undefined, value: string, where: string): boolean {
  if (entry === undefined) return false
  if (entry.same.includes(value.trim())) return true
  throw new ConfigError(`${where} cannot be ${quoted(value)}: ${entry.because}`)
}
