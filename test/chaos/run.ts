import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { noOwnKafka } from '../support/kafka.js'
import { handlersNames, type Handlers } from './handler-kinds.js'
import type { Profile } from './plan.js'
import { protocols, runRound, startCluster, type Protocol, type RoundResult } from './round.js'

const usage = `npm run chaos -- [options]
  --protocol P   cooperative, eager, kip848, or all (the default)
  --profile P    full (the default), or graceful: only stops, starts and joins, after which nothing may be handled twice
  --handler H    module (the default), batch, workers, push, or mixed: how records are handled
  --rounds N     rounds a protocol, each with a topic, a group and gateways of its own (1)
  --minutes M, --seconds S
                 how long faults are begun in each round (60 s)
  --seed N       the first round's seed; the next round's is one more (random)
  --rate N       records a second (250)
  --keep         keep the logs of rounds without a violation as well`

interface Options {
  protocols: readonly Protocol[]
  profile: Profile
  handler: Handlers
  rounds: number
  lengthMs: number
  seed: number
  rate: number
  keep: boolean
}

function readOptions (): Options {
  const { values } = parseArgs({
    options: {
      protocol: { type: 'string', default: 'all' },
      profile: { type: 'string', default: 'full' },
      handler: { type: 'string', default: 'module' },
      rounds: { type: 'string', default: '1' },
      minutes: { type: 'string' },
      seconds: { type: 'string' },
      seed: { type: 'string' },
      rate: { type: 'string', default: '250' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) throw new Error(usage)
  const number = (name: string, text: string, least: number) => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= least)) throw new Error(`--${name} must be a number from ${least} up, got '${text}'\n${usage}`)
    return value
  }
  const chosen = values.protocol === 'all' ? protocols : protocols.filter(name => name === values.protocol)
  if (chosen.length === 0) throw new Error(`--protocol must be ${protocols.join(', ')} or all, got '${values.protocol}'\n${usage}`)
  if (values.profile !== 'full' && values.profile !== 'graceful') throw new Error(`--profile must be full or graceful, got '${values.profile}'\n${usage}`)
  const handler = handlersNames.find(name => name === values.handler)
  if (handler === undefined) throw new Error(`--handler must be ${handlersNames.join(' or ')}, got '${values.handler}'\n${usage}`)
  return {
    protocols: chosen,
    profile: values.profile,
    handler,
    rounds: number('rounds', values.rounds, 1),
    lengthMs: values.minutes !== undefined
      ? number('minutes', values.minutes, 0.1) * 60_000
      : number('seconds', values.seconds ?? '60', 5) * 1000,
    seed: values.seed === undefined ? randomInt(1e9) : number('seed', values.seed, 0),
    rate: number('rate', values.rate, 1),
    keep: values.keep
  }
}

function printFailure (result: RoundResult, { profile, handler, lengthMs, rate }: Options): void {
  const { violations, seed, protocol, folder, firstViolationMs } = result
  console.log(`\n${violations.length} violations, the first after ${((firstViolationMs ?? 0) / 1000).toFixed(1)} s:`)
  for (const text of violations.slice(0, 20)) console.log(`  ${text}`)
  if (violations.length > 20) console.log(`  … ${violations.length - 20} more in the folder`)
  const again = `--seed ${seed} --protocol ${protocol} --profile ${profile} --handler ${handler} --seconds ${lengthMs / 1000} --rate ${rate}`
  console.log(`\nagain: npm run chaos -- ${again}`)
  console.log(`the ledger, the conductor's log and the gateways' are in ${folder}`)
}

async function run (options: Options): Promise<boolean> {
  const results: RoundResult[] = []
  for (const protocol of options.protocols) {
    // One cluster at a time, for all rounds of a protocol: each has a topic and a group of its own.
    const kafka = await startCluster(options.profile)
    try {
      for (let round = 0; round < options.rounds; round++) {
        const { profile, handler, lengthMs, rate, keep } = options
        const seed = options.seed + round
        const result = await runRound({ kafka, seed, protocol, profile, handler, lengthMs, rate, keep, say: line => console.log(line) })
        results.push(result)
        console.log(result.summary)
        if (keep) console.log(`kept in ${result.folder}`)
        if (result.violations.length === 0) continue
        printFailure(result, options)
        // A round that failed may leave the cluster in pieces.
        break
      }
    } finally {
      await kafka.stop()
    }
  }
  console.log(`\n${results.map(({ summary }) => summary).join('\n')}`)
  return results.every(({ violations }) => violations.length === 0)
}

// By exit(), so that what was started ends as well, even a gateway that SIGSTOP holds.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))

try {
  const options = readOptions()
  if (noOwnKafka !== false) throw new Error(`chaos needs brokers of its own: ${noOwnKafka}`)
  if (!await run(options)) process.exitCode = 1
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
