import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { PintleError } from '../../kernel/contract/errors.ts';
import type { Delivery, Job, Revision } from '../deliver/job-objects.ts';
import type { Deliverer, DeliverOptions, JobState } from '../deliver/deliverer.ts';
import { apiOptions, withConnection, type ApiFlags } from '../api-connection.ts';
import { exitCodes } from '../exit-codes.ts';
import { outputOption, type OutputOptions } from '../options.ts';
import type { Cli } from '../terminal.ts';

interface JobFlags extends OutputOptions, ApiFlags {
  readonly namespace: string;
}

interface DeliverFlags extends JobFlags {
  readonly image?: string;
  readonly dir?: string;
  readonly replicas?: number;
  readonly port?: number;
  readonly expose?: boolean;
  readonly timeout: number;
  readonly status?: true;
  readonly history?: true;
  readonly undo?: true | number;
  readonly delete?: true;
}

const actions = ['status', 'history', 'undo', 'delete'] as const;

const number =
  (least: number, most: number) =>
  (value: string): number => {
    if (/^\d{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most) return Number(value);
    throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
  };

/** A Service has the job's name, and that has the narrower rule (RFC 1035 label). */
function parseJob(value: string): string {
  if (/^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$/.test(value)) return value;
  throw new InvalidArgumentError('expected a letter, then letters, digits and dashes, all lower-case, at most 42');
}

export function deliverCommand(cli: Cli): Command {
  const group = new Command('deliver')
    .description('bring a job of CI to the cluster: made when new, rolled when changed, back to what was when it fails')
    .usage('[options] JOB --image IMAGE | --dir FOLDER [-- COMMAND...]')
    .argument('<job>', 'name of the job: its Deployment and Service are called so', parseJob)
    .argument('[command...]', 'what to run, after --; needed when the image says nothing itself')
    .option('--image <image>', 'image to run (with --dir: default "host")')
    .option('--dir <folder>', 'code to run: pods find it at /code, read-only')
    .addOption(
      new Option('--replicas <count>', 'how many pods (default: as many as now, 1)').argParser(number(0, 10_000)),
    )
    .addOption(
      new Option('--port <port>', 'TCP port that the pods serve: makes a Service').argParser(number(1, 65_535)),
    )
    .option('--expose', 'serve it on a port of every node too (default: as it is now)')
    .option('--no-expose', 'serve it inside the cluster only')
    .addOption(
      new Option(
        '--timeout <seconds>',
        'without progress for so long it has failed; --delete waits so long for its pods to end',
      )
        .default(120)
        .argParser(number(1, 86_400)),
    )
    .addOption(new Option('--status', 'show it').conflicts(without('status')))
    .addOption(new Option('--history', 'show its revisions').conflicts(without('history')))
    .addOption(
      new Option('--undo [revision]', 'go back to a revision (default: the last before that stood)')
        .argParser(number(1, 1e9))
        .conflicts(without('undo')),
    )
    .addOption(new Option('--delete', 'remove it').conflicts(without('delete')))
    .action(
      cli.action(async (name: string, command: readonly string[], flags: DeliverFlags) => {
        const job = { namespace: flags.namespace, name };
        return withDeliverer(cli, flags, async (deliverer, log) => {
          if (flags.status) return showJobs(cli, flags, [await deliverer.state(job)]);
          if (flags.history) return showHistory(cli, flags, await deliverer.history(job));
          if (flags.delete) {
            const found = await deliverer.delete(job, flags.timeout);
            cli.terminal.line(found ? `job ${name} removed` : `no job ${name} to remove`);
            return exitCodes.done;
          }
          const options: DeliverOptions = {
            replicas: flags.replicas,
            expose: flags.expose,
            timeoutSeconds: flags.timeout,
            cause: `pintle deliver ${name}${flags.image === undefined ? '' : ` --image ${flags.image}`}${flags.dir === undefined ? '' : ` --dir ${flags.dir}`}`,
            log,
            say: (line) => cli.terminal.errorLine(`${name}: ${line}`),
          };
          if (flags.undo !== undefined) {
            const revision = await deliverer.undo(job, flags.undo === true ? undefined : flags.undo, options);
            options.say(`back at what revision ${revision.revision} was`);
          } else options.say(await deliverer.deliver(await deliveryOf(job, command, flags), options));
          return showJobs(cli, flags, [await deliverer.state(job)]);
        });
      }),
    );
  for (const option of apiOptions()) group.addOption(option);
  group
    .addOption(new Option('-n, --namespace <name>', 'namespace of the job').default('default'))
    .addOption(outputOption());
  const list = new Command('ls').description('list what is delivered in the namespace').action(
    cli.action(async () => {
      const flags = list.optsWithGlobals<JobFlags>();
      return withDeliverer(cli, flags, async (deliverer) =>
        showJobs(cli, flags, await deliverer.list(flags.namespace)),
      );
    }),
  );
  group.addCommand(list);
  return group;
}

const without = (own: (typeof actions)[number]): string[] => [
  ...actions.filter((each) => each !== own),
  'image',
  'dir',
];

async function deliveryOf(job: Job, command: readonly string[], flags: DeliverFlags): Promise<Delivery> {
  if (flags.image === undefined && flags.dir === undefined)
    throw new PintleError(
      'CONFIG_INVALID',
      `nothing to deliver for ${job.name}: say --image IMAGE or --dir FOLDER (or --status, --history, --undo, --delete)`,
    );
  const image = flags.image ?? 'host';
  if (/^host(:latest)?$/.test(image) && command.length === 0)
    throw new PintleError(
      'CONFIG_INVALID',
      `${job.name}: image "host" has no command of its own: add -- COMMAND ARGUMENTS`,
    );
  const { readCode } = await import('../deliver/code.ts');
  const code = flags.dir === undefined ? undefined : readCode(resolve(flags.dir), job);
  return { ...job, image, code, command, port: flags.port };
}

async function withDeliverer<T>(
  cli: Cli,
  flags: JobFlags,
  work: (deliverer: Deliverer, log: DeliverOptions['log']) => Promise<T>,
): Promise<T> {
  const { Deliverer: Made } = await import('../deliver/deliverer.ts');
  return withConnection(cli, flags, (connection) =>
    work(new Made(connection.cluster), async (namespace, pod) => {
      const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(pod)}/log?tailLines=20`;
      // The container that is up to be started again has said nothing; the one before has.
      const previous = await connection.text(`${path}&previous=true`).catch(() => '');
      return previous === '' ? connection.text(path) : previous;
    }),
  );
}

function showJobs(cli: Cli, flags: OutputOptions, jobs: readonly JobState[]): typeof exitCodes.done {
  if (flags.output === 'json') cli.terminal.json(jobs);
  else
    cli.terminal.table(
      ['JOB', 'REVISION', 'READY', 'IMAGE', 'CODE', 'ADDRESS'],
      jobs.map((job) => [
        job.job,
        String(job.revision),
        `${job.ready}/${job.replicas}`,
        job.image,
        job.code ?? '-',
        job.addresses.join(', ') || '-',
      ]),
    );
  return exitCodes.done;
}

function showHistory(cli: Cli, flags: OutputOptions, revisions: readonly Revision[]): typeof exitCodes.done {
  const rows = revisions.map(({ template: _template, ...row }) => row);
  if (flags.output === 'json') cli.terminal.json(rows);
  else
    cli.terminal.table(
      ['REVISION', 'CREATED', 'STOOD', 'READY', 'IMAGE', 'CODE', 'CAUSE'],
      rows.map((row) => [
        String(row.revision),
        row.created,
        row.stood ? 'yes' : 'no',
        String(row.ready),
        row.image,
        row.code ?? '-',
        row.cause,
      ]),
    );
  return exitCodes.done;
}
