import { environmentGroups, variableSchemas, type VariableSchema } from '../../src/config/environment-schema.js'
import { wants } from '../../src/config/environment.js'

const BEGIN = '<!-- The tables are made from src/config/environment-schema.ts: `npx tap --disable-coverage --snapshot test/config/documentation.test.ts` -->'
const END = '<!-- end of the tables -->'

/** `page` with its tables made anew from the schema. */
export function withTables (page: string): string {
  const begin = page.indexOf(BEGIN)
  const end = page.indexOf(END)
  if (begin === -1 || end === -1) throw new Error('docs/configuration.md has lost the marks around its tables')
  return `${page.slice(0, begin)}${BEGIN}\n\n${tables()}\n${page.slice(end)}`
}

function tables (): string {
  return groups().map(({ title, variables }) => [
    `### ${title}`,
    '',
    '| variable | default | takes | what it does |',
    '|---|---|---|---|',
    ...variables.map(([name, schema]) => `| \`${name}\` | ${byDefault(schema)} | ${takes(schema)} | ${schema.description} |`),
    ''
  ].join('\n')).join('\n')
}

/** .env.example: every variable, switched off, so that a copy changes nothing until a line is uncommented. */
export function exampleEnvironment (): string {
  const head = '# Copy to .env and uncomment what you need. docs/configuration.md says what each one takes.\n'
  return head + groups().map(({ title, variables }) => `\n# ${title}\n\n${
    variables.map(([name, schema]) => `# ${schema.description.replaceAll('`', '')}\n# ${name}=${schema.default ?? ''}\n`).join('')
  }`).join('')
}

function groups (): { title: string, variables: [string, VariableSchema][] }[] {
  return environmentGroups.map(({ title, variables }) => ({
    title, variables: Object.keys(variables).map(name => [name, variableSchemas[name]!])
  }))
}

function byDefault (schema: VariableSchema): string {
  return schema.default === undefined ? schema.whenUnset ?? '' : `\`${schema.default}\``
}

function takes (schema: VariableSchema): string {
  if (schema.enum !== undefined) return schema.enum.map(word => `\`${word}\``).join(', ')
  if (schema.minimum !== undefined) return `${schema.minimum} to ${schema.maximum}${schema.type === 'integer' ? '' : ', fractions too'}`
  return wants(schema) || 'text'
}
