import type { Config } from './config/types.js'

export type * from './config/types.js'

/** The configuration is wrong: `message` is one line for whoever starts the process, and holds no secret. */
export class ConfigError extends Error {
  constructor (message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}

/**
 * Reads the environment, `.env` and the properties file into one frozen Config.
 *
 * @throws {ConfigError} at the first wrong value
 */
export function loadConfig (
  env: NodeJS.ProcessEnv = process.env,
  options: { readonly cwd?: string, readonly dotenv?: boolean } = {}
): { config: Config, warnings: string[] } {
  throw new ConfigError(`the configuration cannot be read yet (${Object.keys(env).length} variables, ${Object.keys(options).length} options)`)
}
