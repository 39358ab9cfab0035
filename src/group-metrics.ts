import { Counter, Gauge, Histogram } from 'prom-client'
import type { Metrics } from './metrics.js'
import { TallyHistogram, type Tally } from './tally-histogram.js'

type Labels<L extends string> = Partial<Record<Exclude<L, 'group'>, string | number>>

type OfGroup<M> =
  M extends Counter<infer L> ? { inc (labels?: Labels<L>, value?: number): void }
    : M extends Gauge<infer L> ? { set (value: number): void, set (labels: Labels<L>, value: number): void }
      : M extends Histogram<infer L> ? { observe (value: number): void, observe (labels: Labels<L>, value: number): void }
        : M extends TallyHistogram ? { of (topic: string): Tally }
          : never

/** The metrics of one consumer: those of all consumers, where its group is filled in. */
export type GroupMetrics = { readonly [Name in keyof Metrics['consumer']]: OfGroup<Metrics['consumer'][Name]> }

/**
 * Fills in the group. What has no other label is there from now on, as 0. Whatever is counted for every record is not
 * counted here: a Tally is kept, and the other counters are added to when they are scraped.
 */
export function ofGroup (metrics: Metrics['consumer'], group: string): GroupMetrics {
  const own = Object.entries(metrics).map(([name, metric]) => [name, bound(metric, group)])
  return Object.fromEntries(own) as GroupMetrics
}

function bound (metric: Metrics['consumer'][keyof Metrics['consumer']], group: string): object {
  if (metric instanceof TallyHistogram) return { of: (topic: string) => metric.of(group, topic) }
  const [first, ...others] = (metric as unknown as { labelNames: string[] }).labelNames
  if (first !== 'group') throw new Error('a metric of the consumer has no group')
  const alone = others.length === 0
  if (metric instanceof Counter) {
    if (alone) (metric as Counter<'group'>).inc({ group }, 0)
    return { inc: (labels: object = {}, value = 1) => (metric as Counter<string>).inc({ group, ...labels }, value) }
  }
  if (metric instanceof Gauge) {
    if (alone) (metric as Gauge<'group'>).set({ group }, 0)
    return {
      set: (labels: object | number, value?: number) => typeof labels === 'number'
        ? (metric as Gauge<'group'>).set({ group }, labels)
        : (metric as Gauge<string>).set({ group, ...labels }, value!)
    }
  }
  if (alone) metric.zero({ group })
  return {
    observe: (labels: object | number, value?: number) => typeof labels === 'number'
      ? metric.observe({ group }, labels)
      : (metric as Histogram<string>).observe({ group, ...labels }, value!)
  }
}
