/** From a pod's container definition to what the runtime is asked to start: command, environment, mounts, limits. */
import { isAbsolute, join } from 'node:path';
import type {
  ConfigMap,
  Container as ContainerDefinition,
  EnvVar,
  Pod,
  Secret,
} from '../../../kernel/contract/kubernetes.ts';
import {
  PintleError,
  type ContainerSpec,
  type Mount,
  type ResourceLimits,
  type SeccompChoice,
} from '../../../kernel/contract/index.ts';
import { isInputForOne } from './detach-at-end.ts';
import type { TokenSource } from './service-account-tokens.ts';
import { byteCount, cpuMillis } from '../../../kernel/machinery/quantity.ts';

export interface SpecSources {
  configMap(namespace: string, name: string): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
  serviceAccountToken: TokenSource;
  /** Variables for the Services of the namespace. */
  serviceVariables(pod: Pod): ReadonlyMap<string, string>;
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  /** Allocatable of the node, for limits that are not set: resource name → quantity. */
  readonly nodeAllocatable: Readonly<Record<string, string>>;
}

/** A container that cannot be made from its spec: reason CreateContainerConfigError in the pod's status. */
function invalid(message: string): PintleError {
  return new PintleError('CONTAINER_INVALID', message);
}

/** Expands $(NAME) from `values`; $$ is a literal $; unknown names stay as they are (Kubernetes' expansion). */
export function expandVariables(text: string, values: ReadonlyMap<string, string>): string {
  return text.replaceAll(/\$(\$|\(([^()]*)\))/g, (whole, what: string, name: string | undefined) => {
    if (what === '$') return '$';
    return values.get(name!) ?? whole;
  });
}

function mapValue(map: Readonly<Record<string, string>> | undefined, key: string): string {
  return map?.[key] ?? '';
}

/** A downward API field as text; undefined when the path is not supported. */
export function podField(pod: Pod, path: string, sources: Pick<SpecSources, 'podIps' | 'hostIps'>): string | undefined {
  const subscript = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (subscript) return mapValue(pod.metadata[subscript[1] as 'labels' | 'annotations'], subscript[2]!);
  const asLines = (map: Readonly<Record<string, string>> | undefined) =>
    Object.entries(map ?? {})
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .join('\n');
  switch (path) {
    case 'metadata.name':
      return pod.metadata.name;
    case 'metadata.namespace':
      return pod.metadata.namespace;
    case 'metadata.uid':
      return pod.metadata.uid;
    case 'metadata.labels':
      return asLines(pod.metadata.labels);
    case 'metadata.annotations':
      return asLines(pod.metadata.annotations);
    case 'spec.nodeName':
      return pod.spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return pod.spec.serviceAccountName ?? '';
    case 'status.hostIP':
      return sources.hostIps[0] ?? '';
    case 'status.hostIPs':
      return sources.hostIps.join(',');
    case 'status.podIP':
      return sources.podIps[0] ?? '';
    case 'status.podIPs':
      return sources.podIps.join(',');
    default:
      return undefined;
  }
}

/** requests.cpu, limits.memory ... divided by `divisor` and rounded up (Kubernetes' resourceFieldRef). */
export function resourceField(
  container: ContainerDefinition,
  resource: string,
  divisor: string | undefined,
  nodeAllocatable: Readonly<Record<string, string>>,
): string {
  const dot = resource.indexOf('.');
  const [scope, name] = [resource.slice(0, dot), resource.slice(dot + 1)];
  const { limits, requests } = container.resources ?? {};
  const value =
    (scope === 'limits' ? limits?.[name] : (requests?.[name] ?? limits?.[name])) ??
    (scope === 'limits' ? nodeAllocatable[name] : '0') ??
    '0';
  const unit = divisor && divisor !== '0' ? divisor : '1';
  if (name === 'cpu') return String(Math.ceil(cpuMillis(value) / cpuMillis(unit)));
  return String(Math.ceil(byteCount(value) / byteCount(unit)));
}

async function variableValue(
  pod: Pod,
  container: ContainerDefinition,
  variable: EnvVar,
  sources: SpecSources,
): Promise<string | undefined> {
  const from = variable.valueFrom;
  if (!from) return undefined;
  const { namespace } = pod.metadata;
  if (from.fieldRef) {
    const value = podField(pod, from.fieldRef.fieldPath, sources);
    if (value === undefined)
      throw invalid(`env ${variable.name}: fieldPath "${from.fieldRef.fieldPath}" is not supported`);
    return value;
  }
  if (from.resourceFieldRef) {
    const { containerName, resource, divisor } = from.resourceFieldRef;
    const all = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
    const target = containerName ? all.find((each) => each.name === containerName) : container;
    if (!target) throw invalid(`env ${variable.name}: the pod has no container "${containerName}"`);
    return resourceField(target, resource, divisor, sources.nodeAllocatable);
  }
  const reference = from.configMapKeyRef ?? from.secretKeyRef;
  if (!reference) throw invalid(`env ${variable.name}: valueFrom is empty`);
  const [kind, data] = from.configMapKeyRef
    ? (['configmap', (await sources.configMap(namespace, reference.name ?? ''))?.data] as const)
    : (['secret', await secretData(sources, namespace, reference.name ?? '')] as const);
  const value = data?.[reference.key];
  if (value !== undefined) return value;
  if (reference.optional) return undefined;
  throw invalid(
    data === undefined
      ? `${kind} "${reference.name}" not found`
      : `couldn't find key ${reference.key} in ${kind} ${namespace}/${reference.name}`,
  );
}

async function secretData(
  sources: SpecSources,
  namespace: string,
  name: string,
): Promise<Record<string, string> | undefined> {
  const secret = await sources.secret(namespace, name);
  if (!secret) return undefined;
  return Object.fromEntries(
    Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
  );
}

/** Service variables, then envFrom in order, then env in order, each seeing the ones before it. */
export async function environmentOf(
  pod: Pod,
  container: ContainerDefinition,
  sources: SpecSources,
): Promise<Map<string, string>> {
  const values = new Map(sources.serviceVariables(pod));
  for (const from of container.envFrom ?? []) {
    const reference = from.configMapRef ?? from.secretRef;
    const name = reference?.name ?? '';
    const data = from.configMapRef
      ? (await sources.configMap(pod.metadata.namespace, name))?.data
      : await secretData(sources, pod.metadata.namespace, name);
    const found = data ?? (from.configMapRef ? await sources.configMap(pod.metadata.namespace, name) : undefined);
    if (!found && !reference?.optional)
      throw invalid(`${from.configMapRef ? 'configmap' : 'secret'} "${name}" not found`);
    for (const [key, value] of Object.entries(data ?? {})) values.set((from.prefix ?? '') + key, value);
  }
  for (const variable of container.env ?? []) {
    if (variable.valueFrom) {
      const value = await variableValue(pod, container, variable, sources);
      if (value !== undefined) values.set(variable.name, value);
    } else values.set(variable.name, expandVariables(variable.value ?? '', values));
  }
  return values;
}

/** Where Kubernetes looks for profiles of type Localhost. */
const seccompFolder = '/var/lib/kubelet/seccomp';

function seccompOf(profile: { type: string; localhostProfile?: string } | undefined): SeccompChoice | undefined {
  if (profile?.type === 'RuntimeDefault' || profile?.type === 'Unconfined') return profile.type;
  if (profile?.type !== 'Localhost') return undefined;
  const name = profile.localhostProfile ?? '';
  if (name === '' || isAbsolute(name) || name.split('/').includes('..'))
    throw invalid(`seccompProfile.localhostProfile "${name}": expected a path below ${seccompFolder}`);
  return { file: join(seccompFolder, name) };
}

function limitsOf(container: ContainerDefinition): ResourceLimits | undefined {
  const { limits, requests } = container.resources ?? {};
  const memory = limits?.['memory'];
  const cpu = limits?.['cpu'];
  const request = requests?.['cpu'] ?? cpu;
  if (memory === undefined && cpu === undefined && request === undefined) return undefined;
  return {
    memoryBytes: memory === undefined ? undefined : byteCount(memory),
    cpuMillis: cpu === undefined ? undefined : cpuMillis(cpu),
    cpuRequestMillis: request === undefined ? undefined : cpuMillis(request),
  };
}

export interface SpecSettings {
  readonly id: string;
  readonly sandboxId: string;
  readonly attempt: number;
  readonly logPath: string;
  readonly maxLogBytes: number;
  readonly maxLogFiles: number;
  readonly mounts: readonly Mount[];
  /** Whom the image runs as; undefined: not known, so root. */
  readonly imageUser?: number | undefined;
  /** The container whose processes an ephemeral one sees. */
  readonly targetContainerId?: string | undefined;
}

export async function containerSpec(
  pod: Pod,
  container: ContainerDefinition,
  sources: SpecSources,
  settings: SpecSettings,
): Promise<ContainerSpec> {
  const values = await environmentOf(pod, container, sources);
  const expand = (texts: readonly string[] | undefined) => (texts ?? []).map((text) => expandVariables(text, values));
  const security = container.securityContext ?? {};
  const podSecurity = pod.spec.securityContext ?? {};
  const user = security.runAsUser ?? podSecurity.runAsUser;
  const { imageUser, ...about } = settings;
  if (security.runAsNonRoot ?? podSecurity.runAsNonRoot) {
    const what = `(pod: "${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})", container: ${container.name})`;
    if (user === 0) throw invalid(`container's runAsUser breaks non-root policy ${what}`);
    if ((user ?? imageUser ?? 0) === 0) throw invalid(`container has runAsNonRoot and image will run as root ${what}`);
  }
  return {
    ...about,
    name: container.name,
    image: container.image ?? '',
    labels: {
      'io.kubernetes.pod.namespace': pod.metadata.namespace,
      'io.kubernetes.pod.name': pod.metadata.name,
      'io.kubernetes.pod.uid': pod.metadata.uid,
      'io.kubernetes.container.name': container.name,
    },
    command: expand(container.command),
    args: expand(container.args),
    workingDir: container.workingDir,
    env: [...values].map(([name, value]) => ({ name, value })),
    user,
    group: security.runAsGroup ?? podSecurity.runAsGroup,
    supplementalGroups: [
      ...(podSecurity.supplementalGroups ?? []),
      ...(podSecurity.fsGroup === undefined ? [] : [podSecurity.fsGroup]),
    ],
    readOnlyRoot: security.readOnlyRootFilesystem ?? false,
    privileged: security.privileged ?? false,
    noNewPrivileges: security.allowPrivilegeEscalation === false,
    seccomp: seccompOf(security.seccompProfile ?? podSecurity.seccompProfile),
    addCapabilities: security.capabilities?.add ?? [],
    dropCapabilities: security.capabilities?.drop ?? [],
    tty: container.tty ?? false,
    stdin: container.stdin ?? false,
    stdinOnce: isInputForOne(container),
    limits: limitsOf(container),
    stopSignal: container.lifecycle?.stopSignal,
  };
}
