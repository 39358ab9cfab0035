import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Consumer } from '../src/consumer.js'

const healthSchema = Type.Object({
  status: Type.Union([Type.Literal('ok'), Type.Literal('stalled')]),
  reasons: Type.Optional(Type.Array(Type.String(), {
    description: 'What has stalled, in sentences for an operator. Empty when all is well. Only for callers with the right `operate`.'
  }))
}, { title: 'Health' })

const readinessSchema = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('not ready')]),
  reasons: Type.Optional(Type.Array(Type.String(), {
    description: 'What is missing, in sentences for an operator, and what is wrong without keeping it from its work. Only for callers with the right `operate`.'
  })),
  assignedPartitions: Type.Optional(Type.Union([Type.Integer(), Type.Null()], {
    description: 'How many partitions the consumers own together. 0 is well where the group has more members than partitions. `null`: it only produces. ' +
      'Only for callers with the right `operate`.'
  }))
}, { title: 'Readiness' })

const json = (description: string, schema: object, value: object) => ({
  description, content: { 'application/json': { schema, examples: { example: { value } } } }
})

const healthz = {
  operationId: 'getHealth',
  summary: 'Is the process alive?',
  description: 'That it answers shows that its event loop turns; 503 says that the consumer has stopped doing its work though nothing stands in its ' +
    'way, and what was seen of that. For liveness probes: restart it then.',
  tags: ['operate'],
  response: {
    200: json('Alive.', healthSchema, { status: 'ok', reasons: [] }),
    503: json('The consumer has stalled.', healthSchema, {
      status: 'stalled', reasons: ['nothing of orders/3 arrives: its lag grew from 12 to 3400 in 65 s']
    })
  }
}

const readyz = {
  operationId: 'getReadiness',
  summary: 'Can it do its work?',
  description: 'The brokers are reachable, the consumer is a member of its group and nothing keeps it from its work, nothing is draining. ' +
    'For readiness probes and alerts; restarting does not help.',
  tags: ['operate'],
  response: {
    200: json('Ready.', readinessSchema, { status: 'ready', reasons: [], assignedPartitions: 4 }),
    503: json('Not ready.', readinessSchema, { status: 'not ready', reasons: ['the consumer is connecting'], assignedPartitions: 0 })
  }
}

const healthRoutes: FastifyPluginAsyncTypebox = async app => {
  // Both are asked by machines every few seconds, also while nobody can authenticate.
  const config = { public: true }

  // Which one it is goes without saying where there is one.
  const named = ({ name }: Consumer, sentence: string) => app.consumers.length > 1 ? `${name}: ${sentence}` : sentence

  app.get('/healthz', { schema: healthz, config }, async (request, reply) => {
    const reasons = app.consumers.flatMap(consumer => consumer.stalls.map(({ reason }) => named(consumer, reason)))
    const stalled = reasons.length > 0
    // Without authentication everybody is an operator; with it, probes learn the status and no more.
    const details = request.principal.may('operate') ? { reasons } : {}
    return reply.code(stalled ? 503 : 200).send({ status: stalled ? 'stalled' : 'ok', ...details } as const)
  })

  app.get('/readyz', { schema: readyz, config }, async (request, reply) => {
    const { reachable, lastError } = app.producer.state
    const reasons = reachable ? [] : [`the brokers cannot be reached: ${lastError ?? 'connecting'}`]
    const problemsOf = async (consumer: Consumer) => (await consumer.problems()).map(problem => named(consumer, problem))
    const problems = await Promise.all(app.consumers.map(problemsOf))
    reasons.push(...problems.flat())
    const ready = reasons.length === 0
    // The old rules go on: taking every process out of service at once would be the greater harm.
    reasons.push(...app.access.problems)
    const details = request.principal.may('operate') ? { reasons, assignedPartitions: assignedPartitions(app.consumers) } : {}
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not ready', ...details } as const)
  })
}

function assignedPartitions (consumers: readonly Consumer[]): number | null {
  return consumers.length === 0 ? null : consumers.reduce((sum, { state }) => sum + state.partitions.length, 0)
}

export default healthRoutes
