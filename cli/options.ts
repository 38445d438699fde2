import { isIP } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import { type LogLevel, logLevels } from '../kernel/host/log-levels.ts';
import type { OutputFormat } from './terminal.ts';

/** Options that several commands share, each under one name everywhere. */
export const configOption = (): Option =>
  new Option('-c, --config <file>', 'config file (default: the built-in config)');

export const outputOption = (): Option =>
  new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text');

export const stateDirOption = (directory: string): Option =>
  new Option('--state-dir <folder>', 'where this process keeps its state').default(directory);

export const logOptions = (): readonly Option[] => [
  new Option('--log-level <level>', 'least level to log').choices(logLevels).default('info'),
  new Option('--log-format <format>', 'text, or json: one object a line').choices(['text', 'json']).default('text'),
  new Option('--log-file <file>', 'append the log to a file (default: stderr)'),
];

export interface OutputOptions {
  readonly output: OutputFormat;
}

export interface LogFlags {
  readonly logLevel: LogLevel;
  readonly logFormat: 'text' | 'json';
  readonly logFile?: string;
}

export interface HostPort {
  readonly address: string;
  readonly port: number;
}

/** "127.0.0.1:6443", "[::1]:6443": checked here, so that a slip is a usage error. */
export function parseHostPort(value: string): string {
  splitHostPort(value);
  return value;
}

export function splitHostPort(value: string): HostPort {
  const [, ipv6, name, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(value) ?? [];
  const address = ipv6 ?? name;
  if (address === undefined || Number(port) > 65535)
    throw new InvalidArgumentError('expected address:port, such as 127.0.0.1:6443');
  return { address, port: Number(port) };
}

/** For an option that may be given several times. */
export function parseAddresses(value: string, before: readonly string[] = []): readonly string[] {
  if (isIP(value) === 0) throw new InvalidArgumentError('expected an IP address');
  return [...before, value];
}

/** Where the API is: https://host:port, or unix:/path/of/socket. */
export function parseServer(value: string): string {
  if (/^unix:\/./.test(value)) return value;
  if (URL.canParse(value) && new URL(value).protocol === 'https:') return value;
  throw new InvalidArgumentError('expected https://host:port or unix:/path');
}

export function parseNodeName(value: string): string {
  if (value.length <= 63 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(value)) return value;
  throw new InvalidArgumentError('expected a DNS name: lower-case letters, digits, dashes and dots, at most 63');
}
