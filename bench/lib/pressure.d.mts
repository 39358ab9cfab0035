import type { Agent } from 'node:http'
import type { Socket } from 'node:net'

export class Ledger {
  readonly statuses: Record<string, number>
  newId (): string
  tell (id: string, status: number): void
  count (what: 'accepted' | 'refused' | 'unknown'): number
  compare (values: Iterable<string>): { lost: string[], extra: string[], doubled: string[] }
}

export function post (url: string, body: string, options?: { agent?: Agent, headers?: Record<string, string> }): Promise<number>

export interface RunningLoad { readonly succeeded: number, stop (): Promise<void> }
export function startLoad (url: string, options: {
  connections: number, ledger: Ledger, more?: (id: string) => Record<string, string>, pauseMs?: number
}): RunningLoad

export interface HealthSeen { answered: number, unhealthy: number, unanswered: number, slowestMs: number }
export function watchHealth (url: string): () => Promise<HealthSeen>

export function residentSize (pid: number): { highest: number, now: number } | null

export interface RawConnection { readonly socket: Socket, text: string, readonly closed: Promise<unknown> }
export function rawConnection (url: string, options?: { reads?: boolean }): RawConnection

type End = () => void
export const hostile: {
  halfHeaders (url: string, topic: string): End
  halfBody (url: string, topic: string, bytes: number): End
  trickle (url: string, topic: string): End
  vanishing (url: string, topic: string): End
  unreadStream (url: string, topic: string, options?: { path?: string, type?: string, line?: string }): End
}

export function sendStream (url: string, options: {
  records: number, line: (n: number) => string, type?: string, agent?: Agent
}): Promise<{ status: number, answers: number, last: string | undefined }>
