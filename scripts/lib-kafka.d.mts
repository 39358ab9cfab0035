export interface Runtime { kind: 'docker' | 'java', libs: string, classes: string, archive?: string }

export type RuntimeChoice = { kind: 'docker' | 'java', reason?: undefined } | { kind: null, reason: string }

export interface BrokerProcess {
  readonly id: number
  readonly port: number
  readonly logFile: string
  readonly running: boolean
  start (): Promise<void>
  stop (): Promise<void>
  kill (): Promise<void>
  pause (): Promise<void>
  resume (): Promise<void>
}

export interface Brokers {
  bootstrapServers: string
  /** By the name of a further listener: its addresses. */
  listeners: Record<string, string>
  brokers: BrokerProcess[]
  folder: string
  stop (): Promise<void>
}

export const kafkaVersion: string
export function chooseRuntime (found: { docker: boolean, jdk: number, maven: boolean, jars: boolean, only?: string }): RuntimeChoice
export function jdkVersion (text: string | undefined): number
export function findRuntime (env?: NodeJS.ProcessEnv): RuntimeChoice
export function prepareRuntime (kind: 'docker' | 'java', say?: (line: string) => void): Promise<Runtime>
export function startWitness (runtime: Runtime): Promise<{ address: string, stop (): void }>
export function startBrokers (runtime: Runtime, options?: {
  brokers?: number, properties?: Record<string, string | number | boolean>, listeners?: Record<string, string>, scram?: string[]
}): Promise<Brokers>
export function brokerProperties (options: {
  id: number
  ports: Array<{ client: number, controller: number, more?: Record<string, number> }>
  folder: string
  listeners?: Record<string, string>
  extra?: Record<string, string | number | boolean>
}): string
