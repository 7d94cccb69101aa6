//! Queries that the products' documentation shows, and what they mean in the short form of [`describe`](super::describe).
//! Where the documentation has a placeholder for a resource name, one of the same form stands here.

pub(super) const DOCUMENTATION: &[(&str, &str)] = &[
    ("_platform:==iam-am", "_platform:Whole~'iam-am'"),
    (
        "_platform:==iam-identity (action login)",
        "(_platform:Whole~'iam-identity' & ('action' & 'login'))",
    ),
    (
        "_platform:==iam-identity (action user-apikey) -(action login)",
        "(_platform:Whole~'iam-identity' & ('action' & 'user-apikey') & !('action' & 'login'))",
    ),
    (
        "_platform:==BSS (action instance)",
        "(_platform:Whole~'BSS' & ('action' & 'instance'))",
    ),
    ("action instance.create", "('action' & 'instance.create')"),
    (
        "action user-management.user.create",
        "('action' & 'user-management.user.create')",
    ),
    ("reason.reasonCode:500", "reason.reasonCode:'500'"),
    ("outcome:failure", "outcome:'failure'"),
    ("severity:critical", "severity:'critical'"),
    (
        "host:iam-am (action read)",
        "(host:'iam-am' & ('action' & 'read'))",
    ),
    (
        "action:logdnaat.streaming-logs.send reason.reasonCode:500 severity:critical \
             target.typeURI:\"logdna/account/streaming-notification\" \
             requestData.notificationType:\"authentication_failure\"",
        "(action:'logdnaat.streaming-logs.send' & reason.reasonCode:'500' & severity:'critical' \
             & target.typeURI:'logdna/account/streaming-notification' \
             & requestData.notificationType:'authentication_failure')",
    ),
    (
        "initiator.id:iam-ServiceId-<GUID> action:cloud-object-storage.object.create \
             target.id:crn:v1:bluemix:public:cloud-object-storage:global:a/1:2::",
        "(initiator.id:'iam-ServiceId-<GUID>' & action:'cloud-object-storage.object.create' \
             & target.id:'crn:v1:bluemix:public:cloud-object-storage:global:a/1:2::')",
    ),
    (
        "target.id:crn:v1:b reason.reasonCode:403",
        "(target.id:'crn:v1:b' & reason.reasonCode:'403')",
    ),
    (
        "_line:\"LogDNA test message\" _app:\"logdna-selfstream-config-validation\"",
        "(line:'LogDNA test message' & _app:'logdna-selfstream-config-validation')",
    ),
    (
        "host:ibm-cloud-databases-prod AND label.database:postgresql",
        "(host:'ibm-cloud-databases-prod' & label.database:'postgresql')",
    ),
    (
        "action:iam-groups.group.create OR action:iam-groups.group.delete OR action:iam-groups.member.add",
        "(action:'iam-groups.group.create' | action:'iam-groups.group.delete' | action:'iam-groups.member.add')",
    ),
    (
        "action:[iam-groups.group.create,iam-am.policy.update]",
        "(action:'iam-groups.group.create' | action:'iam-am.policy.update')",
    ),
    (
        "response:(>=200 <300) request:*",
        "((response:GreaterEqual 200 & response:Less 300) & request:exists)",
    ),
    (
        "robots.txt OR favicon.ico OR .well-known",
        "('robots.txt' | 'favicon.ico' | '.well-known')",
    ),
    (
        "app:memo -(\"success\" OR \"waiting\")",
        "(app:'memo' & !('success' | 'waiting'))",
    ),
    (
        "healthcheck -successful OR ping",
        "('healthcheck' & (!'successful' | 'ping'))",
    ),
    (
        "source:node1 AND (file:/var/log/syslog OR ERROR)",
        "(source:'node1' & (file:'/var/log/syslog' | 'ERROR'))",
    ),
    (
        "host:myawesomehost -app:mycoolapp",
        "(host:'myawesomehost' & !app:'mycoolapp')",
    ),
    ("user.id:12345", "user.id:'12345'"),
    ("name:=camelCasedName", "name:Prefix'camelCasedName'"),
    ("name:===Bob", "name:Whole'Bob'"),
    (
        "action:kms.secrets.endtoenddelete outcome:failure",
        "(action:'kms.secrets.endtoenddelete' & outcome:'failure')",
    ),
    ("level:[warning,error]", "(level:'warning' | level:'error')"),
];
