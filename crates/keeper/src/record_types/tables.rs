//! The types: a table of fields in the order of the official list, and one of records.

use super::shape::{
    Check, FieldKind,
    Shape::{self, Choice, Date, Flag, List, Object, Text, Whole},
};

/// A type of record, and the standard fields it has.
#[derive(Debug, Clone, Copy)]
pub struct RecordKind {
    /// Its name: `login`.
    pub name: &'static str,
    pub(super) fields: &'static [Slot],
}

/// A standard field of a record type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) kind: &'static str,
    pub(super) label: Option<&'static str>,
    pub(super) required: bool,
}

const fn slot(kind: &'static str) -> Slot {
    Slot { kind, label: None, required: false }
}

const fn labelled(kind: &'static str, label: &'static str) -> Slot {
    Slot { kind, label: Some(label), required: false }
}

impl Slot {
    const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// All types of fields.
pub fn field_kinds() -> impl Iterator<Item = &'static FieldKind> {
    FIELDS.iter()
}

/// All types of records that come with Keeper.
pub fn record_kinds() -> impl Iterator<Item = &'static RecordKind> {
    RECORDS.iter()
}

const PLAIN: Shape = text("Insert a str");

const fn uid(help: &'static str) -> Shape {
    Text(help, Check::Uid)
}

const fn text(help: &'static str) -> Shape {
    Text(help, Check::None)
}

const COUNTRIES: &[&str] = &[
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA",
    "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV",
    "BW", "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU",
    "CV", "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES",
    "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM",
    "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM", "HN", "HR", "HT", "HU", "ID", "IE",
    "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM",
    "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY",
    "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT",
    "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU",
    "NZ", "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA",
    "RE", "RO", "RS", "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM",
    "SN", "SO", "SR", "SS", "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL",
    "TM", "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE",
    "VG", "VI", "VN", "VU", "WF", "WS", "XK", "YE", "YT", "ZA", "ZM", "ZW",
];

const PHONE: Shape = Object(&[
    ("region", text("Region")),
    ("number", text("Number")),
    ("ext", text("Extension")),
    ("type", Choice(&["Home", "Mobile", "Work"])),
]);

const BANK_ACCOUNT: Shape = Object(&[
    ("accountType", Choice(&["Checking", "Other", "Savings"])),
    ("otherType", text("Other Type Description")),
    ("routingNumber", text("Routing Number")),
    ("accountNumber", text("Account Number")),
]);

const CARD: Shape = Object(&[
    ("cardNumber", text("Card Number")),
    ("cardExpirationDate", Text("Expiration Date as MM/YYYY", Check::MonthYear)),
    ("cardSecurityCode", PLAIN),
]);

const HOST: Shape = Object(&[("hostName", text("Hostname or IP")), ("port", text("Port"))]);

const OTP: Shape = Text("URL starting with otpauth://", Check::OtpAuth);

const INNER_FLAG: Shape = Flag("Insert a bool");
const INNER_LIST: Shape = List("Insert a list");

const fn field(name: &'static str, shape: Shape) -> FieldKind {
    FieldKind { name, shape }
}

const FIELDS: &[FieldKind] = &[
    field("accountNumber", PLAIN),
    field(
        "address",
        Object(&[
            ("street1", text("Street")),
            ("street2", text("Street 2")),
            ("city", text("City")),
            ("state", text("State")),
            ("zip", text("Zip/Postal Code")),
            ("country", Choice(COUNTRIES)),
        ]),
    ),
    field("addressRef", uid("Record UID for Address record.")),
    field(
        "appFiller",
        Object(&[
            ("applicationTitle", text("Application Title")),
            ("contentFilter", text("Content Filter")),
            ("macroSequence", text("Macro Sequence")),
        ]),
    ),
    field("bankAccountItem", BANK_ACCOUNT),
    field("bankAccount", BANK_ACCOUNT),
    field("birthDate", Date("Birth Date in ISO8601 Format or Epoch Milliseconds")),
    field("cardRef", uid("Record UID of PaymentCard record.")),
    field("checkbox", Flag("Checkbox")),
    field("databaseType", text("Database Type")),
    field("date", Date("Date in ISO8601 Format or Epoch Milliseconds")),
    field("directoryType", text("Directory Type")),
    field("dropdown", PLAIN),
    field("email", PLAIN),
    field("expirationDate", Date("Expiration Date in ISO8601 Format or Epoch Milliseconds")),
    field("fileRef", uid("Record UID of File record.")),
    field("secret", PLAIN),
    field("host", HOST),
    field("isSSIDHidden", Flag("Is SSID Hidden")),
    field(
        "keyPair",
        Object(&[
            ("publicKey", text("Public Key")),
            ("privateKey", text("Private Key. Normally a PEM file.")),
        ]),
    ),
    field("licenseNumber", text("License Number")),
    field("login", PLAIN),
    field("multiline", PLAIN),
    field(
        "name",
        Object(&[
            ("first", text("First Name")),
            ("middle", text("Middle name")),
            ("last", text("Last Name")),
        ]),
    ),
    field("oneTimeCode", OTP),
    field("otp", OTP),
    field("pamHostname", HOST),
    field(
        "pamRemoteBrowserSettings",
        Object(&[(
            "connection",
            Object(&[
                ("protocol", PLAIN),
                ("userRecords", INNER_LIST),
                ("allowUrlManipulation", INNER_FLAG),
                ("allowedUrlPatterns", PLAIN),
                ("allowedResourceUrlPatterns", PLAIN),
                ("httpCredentialsUid", PLAIN),
                ("autofillConfiguration", PLAIN),
            ]),
        )]),
    ),
    field(
        "pamResources",
        Object(&[
            ("controllerUid", text("Record UID of the Controller Record")),
            ("folderUid", text("Folder UID")),
            ("resourceRef", List("List with UIDs of resource records")),
            (
                "allowedSettings",
                Object(&[
                    ("connections", INNER_FLAG),
                    ("portForwards", INNER_FLAG),
                    ("rotation", INNER_FLAG),
                    ("sessionRecording", INNER_FLAG),
                    ("typescriptRecording", INNER_FLAG),
                ]),
            ),
        ]),
    ),
    field(
        "pamSettings",
        Object(&[(
            "connection",
            Object(&[("portForward", List("Port Settings")), ("connection", List("Connection Settings"))]),
        )]),
    ),
    field(
        "passkey",
        Object(&[
            (
                "privateKey",
                Object(&[
                    ("crv", PLAIN),
                    ("d", PLAIN),
                    ("ext", INNER_FLAG),
                    ("key_ops", INNER_LIST),
                    ("kty", PLAIN),
                    ("x", PLAIN),
                    ("y", PLAIN),
                ]),
            ),
            ("credentialId", text("Credential Id")),
            ("signCount", Whole("Sign Count")),
            ("userId", text("User Id")),
            ("relyingParty", text("Relying Party")),
            ("username", text("User Name")),
            ("createdDate", Date("Creation Date in ISO8601 Format or Epoch Milliseconds")),
        ]),
    ),
    field("password", text("Password or Remove If Generating")),
    field("paymentCardItem", CARD),
    field("paymentCard", CARD),
    field("phoneItem", PHONE),
    field("phone", PHONE),
    field("pinCode", PLAIN),
    field("rbiUrl", PLAIN),
    field("recordRef", uid("Record UID of the referenced record.")),
    field(
        "schedule",
        Object(&[
            ("type", text("Type")),
            ("cron", text("Crontab format string")),
            ("time", text("Time")),
            ("tz", text("Time zone")),
            ("weekday", text("Day of the Week")),
            ("intervalCount", Whole("Interval Count")),
        ]),
    ),
    field(
        "script",
        Object(&[
            ("fileRef", uid("Record UID of File record.")),
            ("command", text("Command")),
            ("recordRef", uid("Record UID of the referenced record.")),
        ]),
    ),
    field("note", text("Secret Note")),
    field(
        "securityQuestion",
        Object(&[("question", text("Security Question")), ("answer", text("Answer To The Question"))]),
    ),
    field("text", PLAIN),
    field("trafficEncryptionSeed", PLAIN),
    field("url", PLAIN),
    field("wifiEncryption", PLAIN),
];

const RECORDS: &[RecordKind] = &[
    RecordKind {
        name: "login",
        fields: &[
            slot("passkey"),
            slot("login"),
            slot("password"),
            slot("url"),
            slot("fileRef"),
            slot("oneTimeCode"),
        ],
    },
    RecordKind {
        name: "bankAccount",
        fields: &[
            slot("bankAccount").required(),
            slot("name"),
            slot("login"),
            slot("password"),
            slot("url"),
            slot("cardRef"),
            slot("fileRef"),
            slot("oneTimeCode"),
        ],
    },
    RecordKind { name: "address", fields: &[slot("address"), slot("fileRef")] },
    RecordKind {
        name: "bankCard",
        fields: &[
            slot("paymentCard"),
            labelled("text", "Cardholder Name"),
            slot("pinCode"),
            slot("addressRef"),
            slot("fileRef"),
        ],
    },
    RecordKind { name: "birthCertificate", fields: &[slot("name"), slot("birthDate"), slot("fileRef")] },
    RecordKind {
        name: "contact",
        fields: &[
            slot("name").required(),
            labelled("text", "Company"),
            slot("email"),
            slot("phone"),
            slot("addressRef"),
            slot("fileRef"),
        ],
    },
    RecordKind {
        name: "driverLicense",
        fields: &[
            labelled("accountNumber", "Driver's License Number"),
            slot("name"),
            slot("birthDate"),
            slot("addressRef"),
            slot("expirationDate"),
            slot("fileRef"),
        ],
    },
    RecordKind { name: "encryptedNotes", fields: &[slot("note"), slot("date"), slot("fileRef")] },
    RecordKind { name: "file", fields: &[slot("fileRef")] },
    RecordKind {
        name: "healthInsurance",
        fields: &[
            slot("accountNumber"),
            labelled("name", "Insured's Name"),
            slot("login"),
            slot("password"),
            slot("url"),
            slot("fileRef"),
        ],
    },
    RecordKind {
        name: "membership",
        fields: &[slot("accountNumber"), slot("name"), slot("password"), slot("fileRef")],
    },
    RecordKind {
        name: "passport",
        fields: &[
            labelled("accountNumber", "Passport Number"),
            slot("name"),
            slot("birthDate"),
            slot("addressRef"),
            slot("expirationDate"),
            labelled("date", "Date Issued"),
            slot("password"),
            slot("fileRef"),
        ],
    },
    RecordKind { name: "photo", fields: &[slot("fileRef")] },
    RecordKind {
        name: "serverCredentials",
        fields: &[slot("host"), slot("login"), slot("password"), slot("fileRef")],
    },
    RecordKind {
        name: "softwareLicense",
        fields: &[
            slot("licenseNumber"),
            slot("expirationDate"),
            labelled("date", "Date Active"),
            slot("fileRef"),
            slot("securityQuestion"),
        ],
    },
    RecordKind {
        name: "ssnCard",
        fields: &[labelled("accountNumber", "Identity Number"), slot("name"), slot("fileRef")],
    },
    RecordKind {
        name: "sshKeys",
        fields: &[slot("login"), slot("keyPair"), slot("password"), slot("host"), slot("fileRef")],
    },
    RecordKind {
        name: "databaseCredentials",
        fields: &[labelled("text", "type"), slot("host"), slot("login"), slot("password"), slot("fileRef")],
    },
    RecordKind {
        name: "pamDatabase",
        fields: &[
            slot("pamHostname"),
            labelled("checkbox", "Use SSL"),
            slot("login"),
            slot("password"),
            labelled("script", "Rotation Scripts"),
            labelled("text", "Connect Database"),
            labelled("text", "Database Id"),
            slot("databaseType"),
            labelled("text", "Provider Group"),
            labelled("text", "Provider Region"),
            slot("fileRef"),
            slot("oneTimeCode"),
        ],
    },
    RecordKind {
        name: "pamDirectory",
        fields: &[
            slot("pamHostname"),
            labelled("checkbox", "Use SSL"),
            slot("login"),
            slot("password"),
            labelled("script", "Rotation Scripts"),
            labelled("text", "Distinguished Name"),
            labelled("text", "Domain Name"),
            labelled("multiline", "Alternative IPs"),
            labelled("text", "Directory Id"),
            slot("directoryType"),
            labelled("text", "User Match"),
            labelled("text", "Provider Group"),
            labelled("text", "Provider Region"),
            slot("fileRef"),
            slot("oneTimeCode"),
        ],
    },
    RecordKind {
        name: "pamMachine",
        fields: &[
            slot("pamHostname").required(),
            slot("login"),
            slot("password"),
            labelled("script", "Rotation Scripts"),
            labelled("secret", "Private PEM Key"),
            labelled("text", "Operating System"),
            labelled("checkbox", "SSL Verification"),
            labelled("text", "Instance Name"),
            labelled("text", "Instance Id"),
            labelled("text", "Provider Group"),
            labelled("text", "Provider Region"),
            slot("fileRef"),
            slot("oneTimeCode"),
        ],
    },
    RecordKind {
        name: "pamUser",
        fields: &[
            slot("login").required(),
            slot("password"),
            labelled("script", "Rotation Scripts"),
            labelled("secret", "Private PEM Key"),
            labelled("text", "Distinguished Name"),
            labelled("text", "Connect Database"),
            labelled("checkbox", "Managed"),
            slot("fileRef"),
            slot("oneTimeCode"),
        ],
    },
    RecordKind {
        name: "pamAwsConfiguration",
        fields: &[
            slot("pamResources").required(),
            labelled("schedule", "Default Rotation Schedule").required(),
            labelled("text", "AWS Id").required(),
            labelled("secret", "Access Key Id").required(),
            labelled("secret", "Access Secret Key").required(),
            labelled("multiline", "Region Names"),
            labelled("multiline", "Port Mapping"),
            labelled("script", "Rotation Scripts"),
            slot("fileRef"),
        ],
    },
    RecordKind {
        name: "pamAzureConfiguration",
        fields: &[
            slot("pamResources").required(),
            labelled("schedule", "Default Rotation Schedule").required(),
            labelled("text", "Azure Id").required(),
            labelled("secret", "Client Id").required(),
            labelled("secret", "Client Secret").required(),
            labelled("secret", "Subscription Id").required(),
            labelled("secret", "Tenant Id").required(),
            labelled("multiline", "Resource Groups"),
            labelled("multiline", "Port Mapping"),
            labelled("script", "Rotation Scripts"),
            slot("fileRef"),
        ],
    },
    RecordKind {
        name: "pamLocalConfiguration",
        fields: &[
            slot("pamResources").required(),
            labelled("schedule", "Default Rotation Schedule").required(),
            labelled("text", "Local Id").required(),
            labelled("multiline", "Port Mapping"),
            labelled("script", "Rotation Scripts"),
            slot("fileRef"),
        ],
    },
    RecordKind {
        name: "pamNetworkConfiguration",
        fields: &[
            slot("pamResources").required(),
            labelled("schedule", "Default Rotation Schedule").required(),
            labelled("text", "Network Id"),
            labelled("text", "Network CIDR"),
            labelled("multiline", "Port Mapping"),
            labelled("script", "Rotation Scripts"),
            slot("fileRef"),
        ],
    },
];
