/**
 * What a user does with kubectl, as data: each kubectl at hand takes the same steps in a namespace of its own, and they
 * must be told the same. `{ns}` and `{node}` stand for its namespace and a node, `{csr}` for a certificate request; a blank
 * within a word is written `~`.
 */
export interface Step {
  readonly line: string;
  /** Standard input. */
  readonly input?: string;
  /** What the output must hold, whichever kubectl it is. */
  readonly expect?: RegExp;
  /** 0 unless said otherwise. */
  readonly code?: number;
  /** Asked until the output holds what is expected: what controllers do takes a moment. */
  readonly until?: true;
  /** How many lines there are on the way depends on the moment: the last one counts. */
  readonly lastLine?: true;
  /** Why kubectl 1.20 and those from 1.27 on print different things here. That they do is tested as well. */
  readonly differs?: string;
  /** `port-forward TARGET PORT`: the output is what answers through it, and then it ends. */
  readonly forwards?: true;
  /** The minor version that brought the command. */
  readonly since?: number;
}

const showsManagedFields = '1.20 shows managedFields, later ones only with --show-managed-fields';
const describesMore = 'later versions describe fields that 1.20 does not know';

const server = `require('http').createServer((q, r) => r.end(process.env.ANSWER + ' ' + require('os').hostname() + '\\n')).listen(8080)`;

const web = (node: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: host
        command: ${JSON.stringify([node, '-e', server])}
        env: [{ name: ANSWER, value: one }]
        ports: [{ containerPort: 8080 }]
        readinessProbe: { httpGet: { path: /, port: 8080 }, periodSeconds: 1, timeoutSeconds: 30 }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`;

const rolledOut: Step = {
  line: 'rollout status deployment/web --timeout=150s',
  expect: /successfully rolled out/,
  lastLine: true,
};

const listener = `
apiVersion: v1
kind: Pod
metadata: { name: listener }
spec:
  restartPolicy: Never
  containers:
  - { name: c, image: host, command: [sh, -c, cat; echo over], stdin: true, stdinOnce: true }
`;

const certificateRequest = (name: string): string => `
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: { name: ${name}-{ns} }
spec: { request: '{csr}', signerName: kubernetes.io/kube-apiserver-client, usages: [client auth] }
`;

const talk = 'i=0;~while~:;~do~i=$((i+1));~echo~line~$i;~sleep~0.1;~done';
const badPod = 'apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: [{name: c, image: host}]}';

/** Afterwards three pods of `web` run and answer "three". */
export const scenario = (node: string): readonly Step[] => [
  { line: 'version', expect: /Server Version.*1\.36/, differs: 'how the versions are written' },
  { line: 'apply -f -', input: web(node), expect: /deployment\.apps\/web created\nservice\/web created/ },
  rolledOut,
  { line: 'apply -f -', input: web(node), expect: /deployment\.apps\/web unchanged/ },
  { line: 'get pods', expect: /^(web-\S+ +1\/1 +Running +0 +\S+\n){3}/m },
  { line: 'get pods -o wide', expect: /NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\s+IP\s+NODE/ },
  { line: 'get deployment,replicaset,service,endpoints -o name', expect: /^service\/web$/m },
  { line: 'get deployment web', expect: /web +3\/3 +3 +3/ },
  { line: 'get deployment web -o wide --show-labels', expect: /app=web/ },
  { line: 'get deployment web -o json', expect: /"readyReplicas": 3/, differs: showsManagedFields },
  { line: 'get service web -o yaml', expect: /targetPort: 8080/, differs: showsManagedFields },
  { line: 'get deployment web -o jsonpath={.spec.replicas}~{.status.readyReplicas}', expect: /^3 3$/ },
  { line: 'get pods -o custom-columns=PHASE:.status.phase,IMAGE:.spec.containers[*].image', expect: /Running +host/ },
  { line: 'get pods -o go-template={{range~.items}}{{.status.phase}};{{end}}', expect: /^(Running;){3}$/ },
  { line: 'get pods -l app=web --field-selector=status.phase=Running --no-headers', expect: /^(web.*\n){3}$/ },
  { line: 'get pods --sort-by=.metadata.name -o name', expect: /^(pod\/web.*\n){3}$/ },
  { line: 'describe deployment web', expect: /ScalingReplicaSet/, differs: describesMore },
  { line: 'describe service web', expect: /Endpoints:/, differs: describesMore },
  { line: 'describe pods', expect: /Started container web/, until: true, differs: describesMore },
  { line: 'describe node node-1', expect: /Ready\s+True/, differs: describesMore },
  { line: 'scale deployment web --replicas=2' },
  rolledOut,
  { line: 'set image deployment/web web=nowhere/none:1', expect: /image updated/ },
  // It goes to and fro between ErrImagePull and this. The one too many may still be ending, and be the last line.
  { line: 'get pods', expect: /^(?![^]*Terminating)[^]*ImagePullBackOff/, until: true, lastLine: true },
  { line: 'rollout undo deployment/web', expect: /rolled back/ },
  rolledOut,
  { line: 'set env deployment/web ANSWER=two', expect: /env updated/ },
  rolledOut,
  { line: 'rollout history deployment/web', expect: /2 .*\n3 .*\n4 / },
  { line: 'rollout history deployment/web --revision=4', expect: /ANSWER:\s+two/, differs: describesMore },
  { line: 'rollout undo deployment/web --to-revision=3' },
  rolledOut,
  { line: 'get deployment web -o jsonpath={.spec.template.spec.containers[0].env[0].value}', expect: /^one$/ },
  { line: 'rollout pause deployment/web', expect: /paused/ },
  { line: 'rollout pause deployment/web', code: 1, expect: /is already paused/ },
  { line: 'set env deployment/web ANSWER=three' },
  // Pods of the version before may be ending.
  { line: 'get pods -l app=web -o jsonpath={.items[0].spec.containers[0].env[0].value}', expect: /^one$/, until: true },
  { line: 'rollout resume deployment/web', expect: /resumed/ },
  rolledOut,
  { line: 'rollout restart deployment/web', expect: /restarted/ },
  rolledOut,
  {
    line: 'scale deployment/web --replicas=3 --current-replicas=7',
    code: 1,
    expect: /Expected replicas to be 7, was 2/,
  },
  { line: 'scale deployment/web --replicas=3 --current-replicas=2' },
  rolledOut,
  { line: 'expose deployment web --name=web2 --port=81 --target-port=8080', expect: /service\/web2 exposed/ },
  { line: 'get service web2', expect: /81\/TCP/ },
  { line: 'label deployment web tier=front', expect: /labeled/ },
  { line: 'label deployment web tier=back', code: 1, expect: /already has a value \(front\)/ },
  { line: 'label deployment web tier=back --overwrite' },
  { line: 'get deployments -L tier', expect: /back/ },
  { line: 'annotate deployment web note=b', expect: /annotated/ },
  { line: 'patch deployment web -p {"spec":{"revisionHistoryLimit":5}}', expect: /patched/ },
  { line: 'patch deployment web --type=merge -p {"metadata":{"annotations":{"note":null}}}', expect: /patched/ },
  {
    line: 'patch deployment web --type=json -p [{"op":"replace","path":"/spec/revisionHistoryLimit","value":6}]',
    expect: /patched/,
  },
  { line: 'get deployment web -o jsonpath={.spec.revisionHistoryLimit}~{.metadata.annotations.note}', expect: /^6 $/ },
  { line: 'create configmap settings --from-literal=a=1', expect: /created/ },
  { line: 'get configmap settings -o jsonpath={.data}', expect: /^\{"a":"1"\}$/ },
  { line: 'create secret generic hidden --from-literal=p=q', expect: /created/ },
  { line: 'describe secret hidden', expect: /p: +1 bytes/ },
  { line: 'create serviceaccount bot', expect: /created/ },
  { line: 'create role reader --verb=get,list --resource=pods', expect: /created/ },
  { line: 'create rolebinding bot --role=reader --serviceaccount={ns}:bot', expect: /created/ },
  { line: 'auth can-i list pods --as=system:serviceaccount:{ns}:bot', expect: /^yes/ },
  { line: 'auth can-i delete pods --as=system:serviceaccount:{ns}:bot', code: 1, expect: /^no/ },
  { line: 'create quota small --hard=configmaps=3', expect: /created/ },
  { line: 'create configmap third --from-literal=a=1', code: 0 },
  {
    line: 'create configmap fourth --from-literal=a=1',
    code: 1,
    expect: /exceeded quota: small/,
    differs: 'later versions begin what the server says with "failed to create configmap"',
  },
  { line: 'create job once --image=host -- echo done', expect: /created/ },
  { line: 'wait --for=condition=complete job/once --timeout=150s', expect: /condition met/ },
  { line: 'logs job/once', expect: /^done$/m },
  { line: 'create cronjob yearly --image=host --schedule=@yearly -- true', expect: /created/ },
  // 1.20 knows cron jobs of batch/v1beta1 only, and takes the version that the server prefers.
  { line: 'create job manual --from=cronjob/yearly', expect: /created/, since: 21 },
  { line: 'explain deployment.spec.replicas', expect: /integer/, differs: 'the layout is another one from 1.27 on' },
  { line: 'api-resources --api-group=apps', expect: /deployments\s+deploy\s+apps\/v1\s+true\s+Deployment/ },
  { line: 'api-versions', expect: /^batch\/v1$/m },
  {
    line:
      'run talker --image=host --restart=Never --labels=owner={ns} --overrides={"spec":{"nodeName":"{node}"}} -- sh -c ' +
      talk,
    expect: /created/,
  },
  { line: 'wait --for=condition=Ready pod/talker --timeout=150s', expect: /condition met/ },
  { line: 'exec talker -- echo here', expect: /^here$/m },
  { line: 'exec -i talker -- tr a-z A-Z', input: 'abc', expect: /^ABC$/ },
  { line: 'exec talker -- sh -c exit~7', code: 7, expect: /exit code 7/ },
  { line: 'logs talker --limit-bytes=14', expect: /^line 1\nline 2\n$/, until: true },
  { line: 'logs talker --tail=1', expect: /^line \d+\n$/, lastLine: true },
  { line: 'create -f -', input: listener, expect: /pod\/listener created/ },
  { line: 'wait --for=condition=Ready pod/listener --timeout=150s', expect: /condition met/ },
  { line: 'attach -i listener', input: 'heard\n', expect: /^heard\nover\n$/ },
  { line: 'wait --for=jsonpath={.status.phase}=Succeeded pod/listener --timeout=150s', expect: /met/, since: 23 },
  { line: 'get pod listener', expect: /listener +0\/1 +Completed +0 /, until: true },
  {
    line: 'attach listener',
    code: 1,
    expect: /cannot attach a container in a completed pod; current phase is Succeeded/,
  },
  { line: 'port-forward service/web 80', forwards: true, expect: /^three web-/ },
  { line: 'port-forward deployment/web 8080', forwards: true, expect: /^three web-/ },
  { line: 'cp {file} talker:/tmp/copied' },
  { line: 'exec talker -- cat /tmp/copied', expect: /^of a file/ },
  { line: 'run -i --rm --quiet one --image=host --restart=Never -- cat', input: 'said\n', expect: /^said\n/ },
  { line: 'get events --field-selector=involvedObject.name=talker,reason=Started', expect: /Started container talker/ },
  { line: 'events --for=pod/talker', expect: /Started container talker/, since: 26 },
  {
    line: 'describe pod talker',
    expect: /Pulled.*already present.*\n.*Created.*\n.*Started/,
    until: true,
    differs: describesMore,
  },
  { line: 'debug talker --image=host --target=talker --container=look -- true', expect: /./, since: 23 },
  { line: 'auth whoami', expect: /pintle-admin/, since: 27 },
  { line: 'create token bot', expect: /^ey/, since: 24 },
  { line: 'create -f -', input: certificateRequest('good'), expect: /\/good-\S+ created/ },
  { line: 'create -f -', input: certificateRequest('bad'), expect: /\/bad-\S+ created/ },
  { line: 'get csr good-{ns}', expect: /kubernetes\.io\/kube-apiserver-client +pintle-admin .* Pending/ },
  { line: 'certificate approve good-{ns}', expect: /\/good-\S+ approved/ },
  { line: 'certificate deny bad-{ns}', expect: /\/bad-\S+ denied/ },
  { line: 'get csr good-{ns} bad-{ns}', expect: / Approved,Issued\n.* Denied\n/, until: true },
  { line: 'get csr good-{ns} -o jsonpath={.status.conditions[*].reason}', expect: /^KubectlApprove$/ },
  { line: 'certificate deny good-{ns}', code: 1, expect: /./ },
  { line: 'delete csr good-{ns} bad-{ns}', expect: /"bad-\S+" deleted/ },
  { line: 'cordon {node}', expect: /cordoned/ },
  { line: 'get node {node}', expect: /SchedulingDisabled/ },
  {
    line: 'drain {node} --ignore-daemonsets --force --delete-emptydir-data --pod-selector=owner={ns}',
    expect: /pod\/talker evicted\nnode\/\S+ (evicted|drained)/,
    differs: 'of the node 1.20 says "evicted", later ones "drained"',
    lastLine: true,
  },
  { line: 'uncordon {node}', expect: /uncordoned/ },
  { line: 'taint node {node} {ns}=x:PreferNoSchedule', expect: /tainted/ },
  { line: 'taint node {node} {ns}-', expect: /untainted/ },
  { line: 'top node {node}', expect: /CPU\(cores\)/, until: true, differs: 'the heads of its columns' },
  { line: 'get pod none', code: 1, expect: /Error from server \(NotFound\): pods "none" not found/ },
  { line: 'create -f -', input: badPod, code: 1, expect: /Invalid value: "Bad_Name"/ },
  { line: 'delete job once', expect: /job\.batch "once" deleted/ },
  { line: 'delete cronjob/yearly configmap/settings quota/small', expect: /"small" deleted/ },
  { line: 'get cronjobs,quota', expect: /^$/ },
];

/** What is another one each time: names, addresses, times. Columns are as wide as what stands in them. */
export function normalised(text: string, names: Readonly<Record<string, string>>): string {
  let plain = text;
  for (const [name, value] of Object.entries(names)) plain = plain.replaceAll(value, `{${name}}`);
  return plain
    .replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UID')
    .replaceAll(/\b\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)/g, 'TIME')
    .replaceAll(/\b\d+\.\d+\.\d+\.\d+\b/g, 'IP')
    .replaceAll(/\bnode-\d+\b/g, 'NODE')
    .replaceAll(/\b(web|once|manual)-[a-z0-9]{5,10}(-[a-z0-9]{5})?\b/g, '$1-HASH')
    .replaceAll(/\bpod-template-hash=\w+/g, 'pod-template-hash=HASH')
    .replaceAll(/"pod-template-hash": ?"\w+"/g, '"pod-template-hash": "HASH"')
    .replaceAll(/\bline \d+\b/g, 'line N')
    .replaceAll(/\b\d+m? +\d+% +\d+Mi +\d+%/g, 'USAGE')
    .replaceAll(/\b\d+(ms|[smhd])(\d+[smh])?\b/g, 'AGE')
    .replaceAll(/ +/g, ' ')
    .replaceAll(/ $/gm, '')
    .trim();
}
