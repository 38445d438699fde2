/** Containers of pods and pod templates. */
import type {
  Container,
  ContainerPort,
  EnvVar,
  Lifecycle,
  LifecycleHandler,
  Probe,
  ResourceRequirements,
} from '../../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import type { FieldErrors } from './field-errors.ts';
import { envNameFaults, labelFaults, portNameFaults } from './names.ts';

const probeHandlers = ['exec', 'httpGet', 'tcpSocket', 'grpc'] as const;
const hookHandlers = ['exec', 'httpGet', 'tcpSocket', 'sleep'] as const;

function validatePort(port: ContainerPort, field: string, hostNetwork: boolean, errors: FieldErrors): void {
  if (port.name) errors.faults(`${field}.name`, port.name, portNameFaults(port.name));
  if (!port.containerPort) errors.required(`${field}.containerPort`);
  else errors.range(`${field}.containerPort`, port.containerPort, 1, 65_535);
  if (!port.hostPort) return;
  errors.range(`${field}.hostPort`, port.hostPort, 1, 65_535);
  if (hostNetwork && port.hostPort !== port.containerPort) {
    errors.invalid(`${field}.hostPort`, port.hostPort, 'must match `containerPort` when `hostNetwork` is true');
  }
}

function validateEnv(env: readonly EnvVar[], field: string, errors: FieldErrors): void {
  for (const [index, variable] of env.entries()) {
    const place = `${field}[${index}]`;
    if (!variable.name) errors.required(`${place}.name`);
    else errors.faults(`${place}.name`, variable.name, envNameFaults(variable.name));
    if (!variable.valueFrom) continue;
    const sources = Object.values(variable.valueFrom).filter((source) => source !== undefined);
    if (sources.length === 0) {
      errors.invalid(
        `${place}.valueFrom`,
        '',
        'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`',
      );
    } else if (variable.value) {
      errors.invalid(`${place}.valueFrom`, '', 'may not be specified when `value` is not empty');
    } else if (sources.length > 1) {
      errors.invalid(`${place}.valueFrom`, '', 'may not have more than one field specified at a time');
    }
    for (const name of ['configMapKeyRef', 'secretKeyRef'] as const) {
      const reference = variable.valueFrom[name];
      if (!reference) continue;
      if (!reference.name) errors.required(`${place}.valueFrom.${name}.name`);
      if (!reference.key) errors.required(`${place}.valueFrom.${name}.key`);
    }
    if (variable.valueFrom.fieldRef && !variable.valueFrom.fieldRef.fieldPath) {
      errors.required(`${place}.valueFrom.fieldRef.fieldPath`);
    }
  }
}

function validateHandler(
  handler: Probe | LifecycleHandler,
  field: string,
  handlers: readonly string[],
  graceSeconds: number,
  errors: FieldErrors,
): void {
  const record = handler as Record<string, unknown>;
  const given = handlers.filter((name) => record[name] !== undefined);
  if (given.length === 0) errors.required(field, 'must specify a handler type');
  for (const name of given.slice(1)) errors.forbidden(`${field}.${name}`, 'may not specify more than 1 handler type');
  const { exec, httpGet, tcpSocket, grpc, sleep } = handler as Probe & LifecycleHandler;
  if (grpc) errors.range(`${field}.grpc.port`, grpc.port, 1, 65_535);
  if (sleep && (sleep.seconds < 0 || sleep.seconds > graceSeconds)) {
    const wanted = `must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`;
    errors.invalid(`${field}.sleep`, sleep.seconds, wanted);
  }
  if (exec && !exec.command?.length) errors.required(`${field}.exec.command`);
  for (const [name, action] of Object.entries({ httpGet, tcpSocket })) {
    if (!action) continue;
    if (typeof action.port === 'number') errors.range(`${field}.${name}.port`, action.port, 1, 65_535);
    else errors.faults(`${field}.${name}.port`, action.port, portNameFaults(action.port ?? ''));
  }
}

function validateProbe(probe: Probe | undefined, field: string, onlyOneSuccess: boolean, errors: FieldErrors): void {
  if (!probe) return;
  validateHandler(probe, field, probeHandlers, 0, errors);
  errors.nonNegative(`${field}.initialDelaySeconds`, probe.initialDelaySeconds);
  for (const name of ['timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'] as const) {
    errors.nonNegative(`${field}.${name}`, probe[name]);
  }
  if (probe.terminationGracePeriodSeconds !== undefined && probe.terminationGracePeriodSeconds <= 0) {
    errors.invalid(
      `${field}.terminationGracePeriodSeconds`,
      probe.terminationGracePeriodSeconds,
      'must be greater than 0',
    );
  }
  if (onlyOneSuccess && probe.successThreshold !== undefined && probe.successThreshold !== 1) {
    errors.invalid(`${field}.successThreshold`, probe.successThreshold, 'must be 1');
  }
}

function validateLifecycle(
  lifecycle: Lifecycle | undefined,
  field: string,
  graceSeconds: number,
  errors: FieldErrors,
): void {
  for (const name of ['postStart', 'preStop'] as const) {
    const handler = lifecycle?.[name];
    if (handler) validateHandler(handler, `${field}.${name}`, hookHandlers, graceSeconds, errors);
  }
}

export function validateResources(
  resources: ResourceRequirements | undefined,
  field: string,
  errors: FieldErrors,
): void {
  const { limits = {}, requests = {} } = resources ?? {};
  for (const [name, list] of Object.entries({ limits, requests })) {
    for (const [resource, quantity] of Object.entries(list)) {
      if (parseQuantity(quantity) < 0) {
        errors.invalid(`${field}.${name}[${resource}]`, quantity, 'must be greater than or equal to 0');
      }
    }
  }
  for (const [resource, quantity] of Object.entries(requests)) {
    const limit = Object.hasOwn(limits, resource) ? limits[resource] : undefined;
    if (limit !== undefined && parseQuantity(quantity) > parseQuantity(limit)) {
      errors.invalid(`${field}.requests`, quantity, `must be less than or equal to ${resource} limit of ${limit}`);
    }
  }
}

const standardResources = ['cpu', 'memory', 'ephemeral-storage'];

function validateResourceNames(resources: ResourceRequirements | undefined, field: string, errors: FieldErrors): void {
  for (const list of ['limits', 'requests'] as const)
    for (const name of Object.keys(resources?.[list] ?? {}))
      if (!name.includes('/') && !standardResources.includes(name) && !name.startsWith('hugepages-'))
        errors.invalid(`${field}.${list}[${name}]`, name, 'must be a standard resource for containers');
}

/** What says both yes and no: Linux knows of no privileged process that cannot gain privileges. */
function validatePrivileges({ securityContext }: Container, field: string, errors: FieldErrors): void {
  if (securityContext?.allowPrivilegeEscalation !== false) return;
  if (securityContext.privileged)
    errors.invalid(field, securityContext, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true');
  if (securityContext.capabilities?.add?.some((name) => name === 'CAP_SYS_ADMIN'))
    errors.invalid(
      field,
      securityContext,
      'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
    );
}

export interface ContainerSurroundings {
  readonly volumes: ReadonlySet<string>;
  readonly hostNetwork: boolean;
  readonly graceSeconds: number;
  /** Names of all containers so far. */
  readonly names: Set<string>;
  /** "TCP/10.0.0.1/80" of containers that run together. */
  readonly hostPorts: Set<string>;
}

function validateMounts(container: Container, field: string, volumes: ReadonlySet<string>, errors: FieldErrors): void {
  const paths = new Set<string>();
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    const place = `${field}.volumeMounts[${index}]`;
    if (!mount.name) errors.required(`${place}.name`);
    else if (!volumes.has(mount.name)) errors.notFound(`${place}.name`, mount.name);
    if (!mount.mountPath) errors.required(`${place}.mountPath`);
    else if (paths.has(mount.mountPath)) errors.invalid(`${place}.mountPath`, mount.mountPath, 'must be unique');
    paths.add(mount.mountPath);
    if (mount.subPath && mount.subPathExpr) {
      errors.invalid(`${place}.subPathExpr`, mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive');
    }
    for (const name of ['subPath', 'subPathExpr'] as const) {
      const path = mount[name];
      if (path?.startsWith('/')) errors.invalid(`${place}.${name}`, path, 'must be a relative path');
      if (path?.split('/').includes('..')) errors.invalid(`${place}.${name}`, path, "must not contain '..'");
    }
  }
  for (const [index, device] of (container.volumeDevices ?? []).entries()) {
    if (!volumes.has(device.name)) errors.notFound(`${field}.volumeDevices[${index}].name`, device.name);
  }
}

export function validateContainer(
  container: Container,
  field: string,
  isInit: boolean,
  around: ContainerSurroundings,
  errors: FieldErrors,
): void {
  if (!container.name) errors.required(`${field}.name`);
  else {
    errors.faults(`${field}.name`, container.name, labelFaults(container.name));
    if (around.names.has(container.name)) errors.duplicate(`${field}.name`, container.name);
    around.names.add(container.name);
  }
  if (!container.image) errors.required(`${field}.image`);
  else if (container.image.trim() !== container.image) {
    errors.invalid(`${field}.image`, container.image, 'must not have leading or trailing whitespace');
  }
  const portNames = new Set<string>();
  const isSidecar = isInit && container.restartPolicy === 'Always';
  for (const [index, port] of (container.ports ?? []).entries()) {
    const place = `${field}.ports[${index}]`;
    validatePort(port, place, around.hostNetwork, errors);
    if (port.name && portNames.has(port.name)) errors.duplicate(`${place}.name`, port.name);
    if (port.name) portNames.add(port.name);
    if (!port.hostPort || (isInit && !isSidecar)) continue;
    const hostPort = `${port.protocol ?? 'TCP'}/${port.hostIP ?? ''}/${port.hostPort}`;
    if (around.hostPorts.has(hostPort)) errors.duplicate(`${place}.hostPort`, hostPort);
    around.hostPorts.add(hostPort);
  }
  validateEnv(container.env ?? [], `${field}.env`, errors);
  validateMounts(container, field, around.volumes, errors);
  validateResources(container.resources, `${field}.resources`, errors);
  validateResourceNames(container.resources, `${field}.resources`, errors);
  validatePrivileges(container, `${field}.securityContext`, errors);
  const mayProbe = !isInit || isSidecar;
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    if (container[name] && !mayProbe)
      errors.forbidden(`${field}.${name}`, 'may not be set for init containers without restartPolicy=Always');
    else validateProbe(container[name], `${field}.${name}`, name !== 'readinessProbe', errors);
  }
  if (container.lifecycle && !mayProbe) {
    errors.forbidden(`${field}.lifecycle`, 'may not be set for init containers without restartPolicy=Always');
  } else validateLifecycle(container.lifecycle, `${field}.lifecycle`, around.graceSeconds, errors);
}
