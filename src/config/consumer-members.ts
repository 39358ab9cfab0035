import { environmentGroups, variableSchemas } from './environment-schema.js'

/** How a variable is called in KAFKA_CONSUMERS_FILE: without KAFKA_, in camel case. `KAFKA_MAX_PROC_COUNT` is `maxProcCount`. */
export function memberOf (variable: string): string {
  return variable.replace(/^KAFKA_/, '').toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** All variables, with what they would be called there. */
export const members: ReadonlyMap<string, string> = new Map(Object.keys(variableSchemas).map(variable => [variable, memberOf(variable)]))

/** What a consumer of that file may have beside its name: every variable that is not the whole process's. */
export const consumerMembers: ReadonlyMap<string, string> = new Map(environmentGroups.flatMap(group =>
  'processWide' in group ? [] : Object.keys(group.variables).map(variable => [memberOf(variable), variable] as const)))
