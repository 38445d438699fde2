/**
 * The part of the container runtime interface (runtime.v1) that is used here: services, messages, and the number and type
 * of each field, in a table. Fields that are left out are skipped when they come and absent when they go.
 */
type Scalar = 'string' | 'bool' | 'bytes' | 'int32' | 'int64' | 'uint32' | 'uint64';
/** `[]` in front: repeated. `map`: of strings to strings. */
type FieldType = Scalar | 'map' | `[]${string}` | (string & {});
type Fields = Readonly<Record<string, readonly [number: number, type: FieldType]>>;

const namespaceOption: Fields = {
  network: [1, 'int32'],
  pid: [2, 'int32'],
  ipc: [3, 'int32'],
  target_id: [4, 'string'],
};

const messages: Readonly<Record<string, Fields>> = {
  Empty: {},
  Int64Value: { value: [1, 'int64'] },
  UInt64Value: { value: [1, 'uint64'] },
  KeyValue: { key: [1, 'string'], value: [2, 'string'] },
  NamespaceOption: namespaceOption,
  SecurityProfile: { profile_type: [1, 'int32'], localhost_ref: [2, 'string'] },
  VersionRequest: { version: [1, 'string'] },
  VersionResponse: {
    version: [1, 'string'],
    runtime_name: [2, 'string'],
    runtime_version: [3, 'string'],
    runtime_api_version: [4, 'string'],
  },
  StatusRequest: { verbose: [1, 'bool'] },
  RuntimeCondition: { type: [1, 'string'], status: [2, 'bool'], reason: [3, 'string'], message: [4, 'string'] },
  RuntimeStatus: { conditions: [1, '[]RuntimeCondition'] },
  StatusResponse: { status: [1, 'RuntimeStatus'] },

  PodSandboxMetadata: { name: [1, 'string'], uid: [2, 'string'], namespace: [3, 'string'], attempt: [4, 'uint32'] },
  LinuxSandboxSecurityContext: {
    namespace_options: [1, 'NamespaceOption'],
    privileged: [6, 'bool'],
    seccomp: [9, 'SecurityProfile'],
  },
  LinuxPodSandboxConfig: {
    cgroup_parent: [1, 'string'],
    security_context: [2, 'LinuxSandboxSecurityContext'],
    sysctls: [3, 'map'],
  },
  PodSandboxConfig: {
    metadata: [1, 'PodSandboxMetadata'],
    hostname: [2, 'string'],
    log_directory: [3, 'string'],
    labels: [6, 'map'],
    annotations: [7, 'map'],
    linux: [8, 'LinuxPodSandboxConfig'],
  },
  RunPodSandboxRequest: { config: [1, 'PodSandboxConfig'], runtime_handler: [2, 'string'] },
  PodSandboxId: { pod_sandbox_id: [1, 'string'] },
  PodSandboxStatusRequest: { pod_sandbox_id: [1, 'string'], verbose: [2, 'bool'] },
  PodSandboxStatusResponse: { info: [2, 'map'] },
  PodSandboxFilter: { label_selector: [3, 'map'] },
  ListPodSandboxRequest: { filter: [1, 'PodSandboxFilter'] },
  PodSandbox: {
    id: [1, 'string'],
    state: [3, 'int32'],
    created_at: [4, 'int64'],
    labels: [5, 'map'],
    annotations: [6, 'map'],
  },
  ListPodSandboxResponse: { items: [1, '[]PodSandbox'] },

  ImageSpec: { image: [1, 'string'] },
  Mount: { container_path: [1, 'string'], host_path: [2, 'string'], readonly: [3, 'bool'], propagation: [5, 'int32'] },
  LinuxContainerResources: {
    cpu_period: [1, 'int64'],
    cpu_quota: [2, 'int64'],
    cpu_shares: [3, 'int64'],
    memory_limit_in_bytes: [4, 'int64'],
    memory_swap_limit_in_bytes: [10, 'int64'],
  },
  Capability: { add_capabilities: [1, '[]string'], drop_capabilities: [2, '[]string'] },
  LinuxContainerSecurityContext: {
    capabilities: [1, 'Capability'],
    privileged: [2, 'bool'],
    namespace_options: [3, 'NamespaceOption'],
    run_as_user: [5, 'Int64Value'],
    readonly_rootfs: [7, 'bool'],
    supplemental_groups: [8, '[]int64'],
    no_new_privs: [11, 'bool'],
    run_as_group: [12, 'Int64Value'],
    masked_paths: [13, '[]string'],
    readonly_paths: [14, '[]string'],
    seccomp: [15, 'SecurityProfile'],
  },
  LinuxContainerConfig: {
    resources: [1, 'LinuxContainerResources'],
    security_context: [2, 'LinuxContainerSecurityContext'],
  },
  ContainerMetadata: { name: [1, 'string'], attempt: [2, 'uint32'] },
  ContainerConfig: {
    metadata: [1, 'ContainerMetadata'],
    image: [2, 'ImageSpec'],
    command: [3, '[]string'],
    args: [4, '[]string'],
    working_dir: [5, 'string'],
    envs: [6, '[]KeyValue'],
    mounts: [7, '[]Mount'],
    labels: [9, 'map'],
    annotations: [10, 'map'],
    log_path: [11, 'string'],
    stdin: [12, 'bool'],
    stdin_once: [13, 'bool'],
    tty: [14, 'bool'],
    linux: [15, 'LinuxContainerConfig'],
  },
  CreateContainerRequest: {
    pod_sandbox_id: [1, 'string'],
    config: [2, 'ContainerConfig'],
    sandbox_config: [3, 'PodSandboxConfig'],
  },
  ContainerId: { container_id: [1, 'string'] },
  StopContainerRequest: { container_id: [1, 'string'], timeout: [2, 'int64'] },
  ContainerFilter: { label_selector: [4, 'map'] },
  ListContainersRequest: { filter: [1, 'ContainerFilter'] },
  Container: {
    id: [1, 'string'],
    pod_sandbox_id: [2, 'string'],
    image_ref: [5, 'string'],
    state: [6, 'int32'],
    created_at: [7, 'int64'],
    labels: [8, 'map'],
    annotations: [9, 'map'],
    image_id: [10, 'string'],
  },
  ListContainersResponse: { containers: [1, '[]Container'] },
  ContainerStatusRequest: { container_id: [1, 'string'], verbose: [2, 'bool'] },
  ContainerStatus: {
    state: [3, 'int32'],
    created_at: [4, 'int64'],
    started_at: [5, 'int64'],
    finished_at: [6, 'int64'],
    exit_code: [7, 'int32'],
    reason: [10, 'string'],
    message: [11, 'string'],
  },
  ContainerStatusResponse: { status: [1, 'ContainerStatus'], info: [2, 'map'] },
  ExecRequest: {
    container_id: [1, 'string'],
    cmd: [2, '[]string'],
    tty: [3, 'bool'],
    stdin: [4, 'bool'],
    stdout: [5, 'bool'],
    stderr: [6, 'bool'],
  },
  AttachRequest: {
    container_id: [1, 'string'],
    stdin: [2, 'bool'],
    tty: [3, 'bool'],
    stdout: [4, 'bool'],
    stderr: [5, 'bool'],
  },
  StreamingUrl: { url: [1, 'string'] },
  CpuUsage: { usage_core_nano_seconds: [2, 'UInt64Value'] },
  MemoryUsage: { working_set_bytes: [2, 'UInt64Value'], usage_bytes: [4, 'UInt64Value'] },
  FilesystemUsage: { used_bytes: [3, 'UInt64Value'] },
  ContainerStats: { cpu: [2, 'CpuUsage'], memory: [3, 'MemoryUsage'], writable_layer: [4, 'FilesystemUsage'] },
  ContainerStatsResponse: { stats: [1, 'ContainerStats'] },

  ImageRequest: { image: [1, 'ImageSpec'] },
  ImageStatusRequest: { image: [1, 'ImageSpec'], verbose: [2, 'bool'] },
  Image: {
    id: [1, 'string'],
    repo_tags: [2, '[]string'],
    repo_digests: [3, '[]string'],
    size: [4, 'uint64'],
    uid: [5, 'Int64Value'],
    username: [6, 'string'],
  },
  ImageStatusResponse: { image: [1, 'Image'], info: [2, 'map'] },
  ListImagesResponse: { images: [1, '[]Image'] },
  AuthConfig: {
    username: [1, 'string'],
    password: [2, 'string'],
    server_address: [4, 'string'],
    identity_token: [5, 'string'],
    registry_token: [6, 'string'],
  },
  PullImageRequest: { image: [1, 'ImageSpec'], auth: [2, 'AuthConfig'] },
  PullImageResponse: { image_ref: [1, 'string'] },
};

/** Method: request and response. Names of messages do not travel, so equal ones share a description. */
const services: Readonly<Record<string, Readonly<Record<string, readonly [request: string, response: string]>>>> = {
  RuntimeService: {
    Version: ['VersionRequest', 'VersionResponse'],
    Status: ['StatusRequest', 'StatusResponse'],
    RunPodSandbox: ['RunPodSandboxRequest', 'PodSandboxId'],
    StopPodSandbox: ['PodSandboxId', 'Empty'],
    RemovePodSandbox: ['PodSandboxId', 'Empty'],
    PodSandboxStatus: ['PodSandboxStatusRequest', 'PodSandboxStatusResponse'],
    ListPodSandbox: ['ListPodSandboxRequest', 'ListPodSandboxResponse'],
    CreateContainer: ['CreateContainerRequest', 'ContainerId'],
    StartContainer: ['ContainerId', 'Empty'],
    StopContainer: ['StopContainerRequest', 'Empty'],
    RemoveContainer: ['ContainerId', 'Empty'],
    ListContainers: ['ListContainersRequest', 'ListContainersResponse'],
    ContainerStatus: ['ContainerStatusRequest', 'ContainerStatusResponse'],
    ReopenContainerLog: ['ContainerId', 'Empty'],
    Exec: ['ExecRequest', 'StreamingUrl'],
    Attach: ['AttachRequest', 'StreamingUrl'],
    ContainerStats: ['ContainerId', 'ContainerStatsResponse'],
  },
  ImageService: {
    ListImages: ['Empty', 'ListImagesResponse'],
    ImageStatus: ['ImageStatusRequest', 'ImageStatusResponse'],
    PullImage: ['PullImageRequest', 'PullImageResponse'],
    RemoveImage: ['ImageRequest', 'Empty'],
  },
};

const map = <In, Out>(table: Readonly<Record<string, In>>, of: (value: In) => Out): Record<string, Out> =>
  Object.fromEntries(Object.entries(table).map(([name, value]) => [name, of(value)]));

/** The table as a JSON descriptor of protobufjs. */
export function criDescriptor(): object {
  const field = ([id, type]: readonly [number, FieldType]) => {
    if (type === 'map') return { id, keyType: 'string', type: 'string' };
    return type.startsWith('[]') ? { id, rule: 'repeated', type: type.slice(2) } : { id, type };
  };
  const method = ([requestType, responseType]: readonly [string, string]) => ({ requestType, responseType });
  const nested = {
    ...map(messages, (fields) => ({ fields: map(fields, field) })),
    ...map(services, (methods) => ({ methods: map(methods, method) })),
  };
  return { nested: { runtime: { nested: { v1: { nested } } } } };
}
