//! What each kind of person ordinarily asks AWS for.

/// Service, operation and `requestParameters`; see [`super::fill_in`] for the placeholders.
pub type Entry = (&'static str, &'static str, &'static str);

/// Whether CloudTrail calls the operation read-only.
pub fn is_read(operation: &str) -> bool {
    [
        "Get", "List", "Describe", "Lookup", "BatchGet", "Check", "Search", "Estimate", "Filter",
    ]
    .iter()
    .any(|verb| operation.starts_with(verb))
}

pub const CONSOLE: &[Entry] = &[
    (
        "ec2",
        "DescribeInstances",
        r#"{"maxResults":100,"instancesSet":{},"filterSet":{"items":[{"name":"instance-state-name","valueSet":{"items":[{"value":"running"},{"value":"stopped"}]}}]}}"#,
    ),
    (
        "ec2",
        "DescribeInstanceStatus",
        r#"{"instancesSet":{"items":[{"instanceId":"$INSTANCE"}]},"filterSet":{},"includeAllInstances":true}"#,
    ),
    (
        "ec2",
        "DescribeSecurityGroups",
        r#"{"maxResults":200,"securityGroupSet":{},"securityGroupIdSet":{},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeVolumes",
        r#"{"maxResults":50,"volumeSet":{},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeRegions",
        r#"{"regionSet":{},"allRegions":true}"#,
    ),
    (
        "ec2",
        "DescribeAvailabilityZones",
        r#"{"availabilityZoneSet":{},"availabilityZoneIdSet":{}}"#,
    ),
    (
        "s3",
        "ListBuckets",
        r#"{"Host":"s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "s3",
        "GetBucketLocation",
        r#"{"bucketName":"$BUCKET","location":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "s3",
        "GetBucketVersioning",
        r#"{"bucketName":"$BUCKET","versioning":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "monitoring",
        "DescribeAlarms",
        r#"{"maxRecords":100,"stateValue":"ALARM"}"#,
    ),
    ("monitoring", "ListDashboards", "null"),
    (
        "health",
        "DescribeEventAggregates",
        r#"{"filter":{"eventStatusCodes":["open","upcoming"]},"aggregateField":"eventTypeCategory"}"#,
    ),
    ("notifications", "ListNotificationHubs", "null"),
    (
        "logs",
        "DescribeLogGroups",
        r#"{"limit":50,"logGroupNamePrefix":"/aws/"}"#,
    ),
    ("tagging", "GetResources", r#"{"resourcesPerPage":50}"#),
];
pub const DEVELOPER: &[Entry] = &[
    (
        "logs",
        "DescribeLogGroups",
        r#"{"limit":50,"logGroupNamePrefix":"/aws/containerinsights/aldertree-prod"}"#,
    ),
    (
        "logs",
        "DescribeLogStreams",
        r#"{"logGroupName":"/aws/lambda/thumbnailer","orderBy":"LastEventTime","descending":true,"limit":10}"#,
    ),
    (
        "logs",
        "StartQuery",
        r#"{"logGroupName":"/aws/lambda/thumbnailer","startTime":1794182400,"endTime":1794186000,"queryString":"HIDDEN_DUE_TO_SECURITY_REASONS","limit":$NUMBER}"#,
    ),
    (
        "logs",
        "GetQueryResults",
        r#"{"queryId":"c0ffee00-1234-4abc-8def-000000000$NUMBER"}"#,
    ),
    ("lambda", "ListFunctions20150331", r#"{"maxItems":50}"#),
    (
        "lambda",
        "GetFunction20150331v2",
        r#"{"functionName":"thumbnailer"}"#,
    ),
    (
        "lambda",
        "UpdateFunctionConfiguration20150331v2",
        r#"{"functionName":"thumbnailer-staging","environment":{},"memorySize":512}"#,
    ),
    ("ecr", "DescribeRepositories", r#"{"maxResults":100}"#),
    (
        "ecr",
        "DescribeImages",
        r#"{"repositoryName":"orders-api","maxResults":100}"#,
    ),
    ("eks", "DescribeCluster", r#"{"name":"aldertree-prod"}"#),
    ("eks", "ListClusters", "null"),
    (
        "codebuild",
        "BatchGetBuilds",
        r#"{"ids":["storefront:7d0f3c1a-0000-4000-8000-000000000$NUMBER"]}"#,
    ),
    ("sqs", "ListQueues", r#"{"maxResults":1000}"#),
    ("dynamodb", "DescribeTable", r#"{"tableName":"sessions"}"#),
    ("sts", "GetCallerIdentity", "null"),
    (
        "secretsmanager",
        "DescribeSecret",
        r#"{"secretId":"staging/orders/db"}"#,
    ),
    (
        "cloudformation",
        "DescribeStacks",
        r#"{"stackName":"thumbnailer-staging"}"#,
    ),
];
pub const OPERATIONS: &[Entry] = &[
    (
        "ec2",
        "DescribeInstances",
        r#"{"instancesSet":{"items":[{"instanceId":"$INSTANCE"}]},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "GetConsoleOutput",
        r#"{"instanceId":"$INSTANCE","latest":true}"#,
    ),
    (
        "ec2",
        "DescribeSubnets",
        r#"{"subnetSet":{},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeNatGateways",
        r#"{"DescribeNatGatewaysRequest":{"MaxResults":100}}"#,
    ),
    (
        "ec2",
        "CreateTags",
        r#"{"resourcesSet":{"items":[{"resourceId":"$INSTANCE"}]},"tagSet":{"items":[{"key":"owner","value":"platform"}]}}"#,
    ),
    ("rds", "DescribeDBInstances", r#"{"maxRecords":100}"#),
    (
        "rds",
        "DescribeEvents",
        r#"{"sourceType":"db-instance","duration":1440}"#,
    ),
    ("eks", "DescribeCluster", r#"{"name":"aldertree-prod"}"#),
    (
        "eks",
        "DescribeNodegroup",
        r#"{"name":"aldertree-prod","nodegroupName":"general"}"#,
    ),
    (
        "autoscaling",
        "DescribeAutoScalingGroups",
        r#"{"maxRecords":100}"#,
    ),
    (
        "autoscaling",
        "UpdateAutoScalingGroup",
        r#"{"autoScalingGroupName":"aldertree-prod-general","maxSize":12}"#,
    ),
    (
        "elasticloadbalancing",
        "DescribeTargetHealth",
        r#"{"targetGroupArn":"arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/storefront/6d0ecf831eec9f09"}"#,
    ),
    ("iam", "ListRoles", r#"{"maxItems":100}"#),
    ("iam", "GetRole", r#"{"roleName":"aldertree-prod-node"}"#),
    ("ssm", "DescribeInstanceInformation", r#"{"maxResults":50}"#),
    ("route53", "ListHostedZones", "null"),
    ("cloudtrail", "LookupEvents", r#"{"maxResults":50}"#),
];
pub const FINANCE: &[Entry] = &[
    (
        "ce",
        "GetCostAndUsage",
        r#"{"timePeriod":{"start":"2026-11-01","end":"2026-11-30"},"granularity":"DAILY","metrics":["UnblendedCost"],"groupBy":[{"type":"DIMENSION","key":"SERVICE"}]}"#,
    ),
    (
        "ce",
        "GetCostForecast",
        r#"{"timePeriod":{"start":"2026-11-16","end":"2026-11-30"},"metric":"UNBLENDED_COST","granularity":"MONTHLY"}"#,
    ),
    (
        "ce",
        "GetDimensionValues",
        r#"{"timePeriod":{"start":"2026-11-01","end":"2026-11-30"},"dimension":"LINKED_ACCOUNT"}"#,
    ),
    (
        "budgets",
        "DescribeBudgets",
        r#"{"accountId":"111122223333","maxResults":100}"#,
    ),
    ("billingconsole", "GetBillsForLinkedAccount", "null"),
    (
        "invoicing",
        "ListInvoiceSummaries",
        r#"{"selector":{"resourceType":"ACCOUNT_ID","value":"111122223333"}}"#,
    ),
    (
        "s3",
        "ListBuckets",
        r#"{"Host":"s3.us-east-1.amazonaws.com"}"#,
    ),
];
pub const SECURITY: &[Entry] = &[
    (
        "cloudtrail",
        "LookupEvents",
        r#"{"maxResults":50,"lookupAttributes":[{"attributeKey":"EventName","attributeValue":"ConsoleLogin"}]}"#,
    ),
    (
        "cloudtrail",
        "DescribeTrails",
        r#"{"trailNameList":[],"includeShadowTrails":true}"#,
    ),
    (
        "cloudtrail",
        "GetTrailStatus",
        r#"{"name":"aldertree-main"}"#,
    ),
    ("guardduty", "ListDetectors", "null"),
    (
        "guardduty",
        "ListFindings",
        r#"{"detectorId":"12abc34d567e8fa901bc2d34e56789f0","maxResults":50}"#,
    ),
    (
        "securityhub",
        "GetFindings",
        r#"{"maxResults":100,"filters":{"recordState":[{"value":"ACTIVE","comparison":"EQUALS"}]}}"#,
    ),
    (
        "config",
        "DescribeComplianceByConfigRule",
        r#"{"complianceTypes":["NON_COMPLIANT"]}"#,
    ),
    ("iam", "GenerateCredentialReport", "null"),
    ("iam", "GetCredentialReport", "null"),
    ("iam", "ListUsers", r#"{"maxItems":100}"#),
    ("iam", "ListAccessKeys", r#"{"userName":"svc-metrics"}"#),
    (
        "access-analyzer",
        "ListFindingsV2",
        r#"{"analyzerArn":"arn:aws:access-analyzer:us-east-1:111122223333:analyzer/account"}"#,
    ),
];
pub const DATA: &[Entry] = &[
    (
        "athena",
        "StartQueryExecution",
        r#"{"queryString":"HIDDEN_DUE_TO_SECURITY_REASONS","clientRequestToken":"f0e1d2c3-0000-4000-8000-000000000$NUMBER","queryExecutionContext":{"database":"sales"},"workGroup":"analysts"}"#,
    ),
    (
        "athena",
        "GetQueryExecution",
        r#"{"queryExecutionId":"0b9f2c41-0000-4000-8000-000000000$NUMBER"}"#,
    ),
    (
        "athena",
        "GetQueryResults",
        r#"{"queryExecutionId":"0b9f2c41-0000-4000-8000-000000000$NUMBER","maxResults":1000}"#,
    ),
    ("glue", "GetTables", r#"{"databaseName":"sales"}"#),
    (
        "glue",
        "GetPartitions",
        r#"{"databaseName":"sales","tableName":"orders","expression":"day >= '2026-11-01'"}"#,
    ),
    (
        "glue",
        "StartJobRun",
        r#"{"jobName":"orders-compaction","arguments":{}}"#,
    ),
    (
        "s3",
        "ListBuckets",
        r#"{"Host":"s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "quicksight",
        "DescribeDashboard",
        r#"{"awsAccountId":"111122223333","dashboardId":"weekly-sales"}"#,
    ),
];
