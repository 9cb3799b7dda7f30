//! What machines read to take stock of the account: Terraform before each change, the posture scanner
//! every night.

use super::catalogue::Entry;

/// What a plan or an apply of Terraform reads, resource by resource.
pub const TERRAFORM: &[Entry] = &[
    (
        "ec2",
        "DescribeVpcs",
        r#"{"vpcSet":{"items":[{"vpcId":"vpc-0c1d2e3f4a5b6c7d8"}]},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeVpcAttribute",
        r#"{"vpcId":"vpc-0c1d2e3f4a5b6c7d8","attribute":"enableDnsSupport"}"#,
    ),
    (
        "ec2",
        "DescribeSubnets",
        r#"{"subnetSet":{"items":[{"subnetId":"subnet-0aa11bb22cc33dd44"}]},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeRouteTables",
        r#"{"routeTableIdSet":{"items":[{"routeTableId":"rtb-0123456789abcdef0"}]},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeSecurityGroups",
        r#"{"securityGroupSet":{},"securityGroupIdSet":{"items":[{"groupId":"sg-0b5e1c2d3f4a59687"}]},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeLaunchTemplates",
        r#"{"DescribeLaunchTemplatesRequest":{"LaunchTemplateId":{"tag":1,"content":"lt-0d3adb33fcafe0001"}}}"#,
    ),
    ("iam", "GetRole", r#"{"roleName":"orders-api"}"#),
    (
        "iam",
        "GetPolicy",
        r#"{"policyArn":"arn:aws:iam::111122223333:policy/orders-api"}"#,
    ),
    (
        "iam",
        "GetPolicyVersion",
        r#"{"policyArn":"arn:aws:iam::111122223333:policy/orders-api","versionId":"v7"}"#,
    ),
    (
        "iam",
        "ListAttachedRolePolicies",
        r#"{"roleName":"orders-api"}"#,
    ),
    ("iam", "ListRolePolicies", r#"{"roleName":"orders-api"}"#),
    ("iam", "GetUser", r#"{"userName":"svc-metrics"}"#),
    (
        "s3",
        "GetBucketPolicy",
        r#"{"bucketName":"$BUCKET","policy":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "s3",
        "GetBucketAcl",
        r#"{"bucketName":"$BUCKET","acl":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "s3",
        "GetBucketEncryption",
        r#"{"bucketName":"$BUCKET","encryption":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "s3",
        "GetBucketLogging",
        r#"{"bucketName":"$BUCKET","logging":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "rds",
        "DescribeDBInstances",
        r#"{"dBInstanceIdentifier":"orders"}"#,
    ),
    (
        "rds",
        "ListTagsForResource",
        r#"{"resourceName":"arn:aws:rds:us-east-1:111122223333:db:orders"}"#,
    ),
    (
        "kms",
        "DescribeKey",
        r#"{"keyId":"6b1f0c52-4a7e-4d0e-9d53-2f1c7a9be001"}"#,
    ),
    (
        "kms",
        "GetKeyPolicy",
        r#"{"keyId":"6b1f0c52-4a7e-4d0e-9d53-2f1c7a9be001","policyName":"default"}"#,
    ),
    (
        "secretsmanager",
        "DescribeSecret",
        r#"{"secretId":"$SECRET"}"#,
    ),
    ("eks", "DescribeCluster", r#"{"name":"aldertree-prod"}"#),
    (
        "cloudtrail",
        "DescribeTrails",
        r#"{"trailNameList":["aldertree-main"]}"#,
    ),
    (
        "cloudtrail",
        "GetTrailStatus",
        r#"{"name":"arn:aws:cloudtrail:us-east-1:111122223333:trail/aldertree-main"}"#,
    ),
];
/// What the posture scanner asks beyond what Terraform reads.
pub const SCANNER: &[Entry] = &[
    (
        "iam",
        "GetAccountAuthorizationDetails",
        r#"{"maxItems":1000}"#,
    ),
    ("iam", "GetAccountPasswordPolicy", "null"),
    ("iam", "ListUsers", "null"),
    ("iam", "ListAccessKeys", r#"{"userName":"svc-backup"}"#),
    ("iam", "ListMFADevices", r#"{"userName":"sam.adeyemi"}"#),
    (
        "iam",
        "GetAccessKeyLastUsed",
        r#"{"accessKeyId":"AKIAIOSFODNN7EXAMPLE"}"#,
    ),
    (
        "ec2",
        "DescribeSnapshots",
        r#"{"maxResults":500,"snapshotSet":{},"ownersSet":{"items":[{"owner":"self"}]},"sharedUsersSet":{},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeSnapshotAttribute",
        r#"{"snapshotId":"snap-00000000000000$NUMBER","attributeType":"CREATE_VOLUME_PERMISSION"}"#,
    ),
    (
        "ec2",
        "DescribeImages",
        r#"{"executableBySet":{},"imagesSet":{},"ownersSet":{"items":[{"owner":"self"}]},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeFlowLogs",
        r#"{"DescribeFlowLogsRequest":""}"#,
    ),
    (
        "ec2",
        "DescribeInstanceAttribute",
        r#"{"instanceId":"$INSTANCE","attribute":"disableApiTermination"}"#,
    ),
    (
        "ec2",
        "DescribeNetworkAcls",
        r#"{"networkAclIdSet":{},"filterSet":{}}"#,
    ),
    (
        "ec2",
        "DescribeSecurityGroupRules",
        r#"{"DescribeSecurityGroupRulesRequest":{"MaxResults":1000}}"#,
    ),
    (
        "s3",
        "GetBucketPolicyStatus",
        r#"{"bucketName":"$BUCKET","policyStatus":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "s3",
        "GetBucketPublicAccessBlock",
        r#"{"bucketName":"$BUCKET","publicAccessBlock":"","Host":"$BUCKET.s3.us-east-1.amazonaws.com"}"#,
    ),
    (
        "lambda",
        "GetPolicy20150331v2",
        r#"{"functionName":"thumbnailer"}"#,
    ),
    (
        "rds",
        "DescribeDBSnapshotAttributes",
        r#"{"dBSnapshotIdentifier":"orders-2026-11-0$NUMBER"}"#,
    ),
    ("ssm", "DescribeParameters", r#"{"maxResults":50}"#),
    ("secretsmanager", "ListSecrets", r#"{"maxResults":100}"#),
    (
        "sqs",
        "GetQueueAttributes",
        r#"{"attributeNames":["Policy"],"queueUrl":"https://sqs.us-east-1.amazonaws.com/111122223333/orders"}"#,
    ),
    (
        "sns",
        "GetTopicAttributes",
        r#"{"topicArn":"arn:aws:sns:us-east-1:111122223333:alerts"}"#,
    ),
    (
        "elasticloadbalancing",
        "DescribeLoadBalancerAttributes",
        r#"{"loadBalancerArn":"arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/app/storefront/50dc6c495c0c9188"}"#,
    ),
    (
        "ecr",
        "GetRepositoryPolicy",
        r#"{"repositoryName":"storefront"}"#,
    ),
    ("organizations", "DescribeOrganization", "null"),
];
