import type { FastifyReply } from 'fastify'
import type { Answer } from '../idempotency-table.js'

/** As bytes: to a string Fastify would add a charset, and clients may compare the whole type. */
export const jsonBytes = (json: unknown): Buffer => Buffer.from(JSON.stringify(json))

export const jsonAnswer = (status: number, type: string, body: Buffer): Answer => ({ status, headers: { 'content-type': type }, body })

/** Sends what is the same when it is sent again for its `Idempotency-Key`. */
export const sendAnswer = (reply: FastifyReply, { status, headers, body }: Answer): FastifyReply =>
  reply.code(status).headers(headers).send(body)
