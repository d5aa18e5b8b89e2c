"""Every string of the page, in English and Chinese, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = ("en", "zh")

# key: (English, Chinese). Texts with {braces} are filled in with values that the templates escape.
TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("Ullage", "Ullage 产量缺口"),
    "tagline": ("Business interruption, measured", "营业中断，实测为据"),
    "skip": ("Skip to content", "跳到正文"),
    "language": ("Language", "语言"),
    "sign_out": ("Sign out", "退出"),
    "live": ("Live", "实时"),
    "connecting": ("Connecting", "正在连接"),
    "offline": ("Connection lost", "连接中断"),
    "offline_long": (
        "The connection to the scorer is lost. The figures below are the last ones received; the page goes on by "
        "itself when the scorer answers.",
        "与评分服务的连接已中断。下列数字为最后一次收到的结果；服务恢复后页面会自动继续更新。",
    ),
    "noscript": (
        "Live updates and charts need JavaScript. Reload the page to see newer figures.",
        "实时更新和图表需要 JavaScript。请刷新页面查看最新数字。",
    ),
    # login
    "login_title": ("Sign in", "登录"),
    "login_lead": (
        "Paste an API key, or open the one-time link that was given to you.",
        "请粘贴 API 密钥，或打开您收到的一次性链接。",
    ),
    "login_key": ("API key", "API 密钥"),
    "login_button": ("Open the page", "打开页面"),
    "login_hint": (
        "A key is made with “ullage-scorer key”. A link works once, for 15 minutes.",
        "密钥由 “ullage-scorer key” 生成。链接只能使用一次，15 分钟内有效。",
    ),
    "login_bad_key": (
        "This key is unknown or revoked. Check that it was copied whole.",
        "此密钥未知或已吊销。请检查是否完整复制。",
    ),
    "login_bad_link": (
        "This link was used already or has run out. Ask for a new one, or paste an API key.",
        "此链接已使用或已过期。请索取新链接，或粘贴 API 密钥。",
    ),
    # sites
    "sites": ("Sites", "厂址"),
    "site": ("Site", "厂址"),
    "state": ("State", "状态"),
    "running": ("running", "运行"),
    "stopped": ("stopped", "停产"),
    "silent": ("silent", "失联"),
    "unknown": ("unknown", "未知"),
    "output_now": ("Output now", "当前产量"),
    "of_standard": ("of standard", "占标准产量"),
    "agent": ("Agent", "代理"),
    "last_seen": ("Last heard", "最近联络"),
    "never": ("never", "从未"),
    "episodes_open": ("Open episodes", "未结异常段"),
    "outbox": ("Outbox", "待发箱"),
    "outbox_empty": ("empty", "空"),
    "outbox_pending": ("{n} waiting", "{n} 条待发"),
    "refused": ("Refused", "已拒收"),
    "refused_hint": (
        "messages that were refused and are kept in quarantine",
        "被拒收并留存于隔离区的消息",
    ),
    "none": ("none", "无"),
    "revoked": ("revoked", "已吊销"),
    "forked": ("two histories", "出现两份历史"),
    "no_sites": ("No site yet", "尚无厂址"),
    "no_sites_long": (
        "Nothing has been enrolled that you may see. Make a site and enrol its agent; the page fills by itself.",
        "尚无您可查看的厂址。请先建立厂址并登记其代理，页面会自动显示。",
    ),
    # devices and planned stops
    "devices": ("Devices", "设备"),
    "device": ("Device", "设备"),
    "good": ("good", "正常"),
    "degraded": ("degraded", "降级"),
    "lost": ("lost", "失去连接"),
    "product": ("Product", "产品"),
    "firmware": ("Firmware", "固件"),
    "posture": ("Exposure", "暴露情况"),
    "posture_anonymous": ("anonymous login allowed", "允许匿名登录"),
    "posture_plain": ("connection not encrypted", "连接未加密"),
    "posture_expires": ("certificate expires in {n} days", "证书将在 {n} 天后到期"),
    "posture_expired": ("certificate expired {n} days ago", "证书已过期 {n} 天"),
    "posture_fine": ("nothing to remark", "无异常"),
    "posture_unknown": ("not told yet", "尚未上报"),
    "changed": ("Changed", "变更"),
    "downtime": ("Downtime", "失联时段"),
    "lost_since": ("since", "始于"),
    "cause_closed": ("closed the connection", "连接被关闭"),
    "cause_refused": ("refuses connections", "拒绝连接"),
    "cause_silent": ("does not answer", "无应答"),
    "cause_hostile": ("sent what no honest device sends", "发送了异常数据"),
    "cause_stopped": ("the agent was stopped", "代理已停止"),
    "field_vendor": ("vendor", "厂商"),
    "field_product": ("product", "产品"),
    "field_model": ("model", "型号"),
    "field_firmware": ("firmware", "固件"),
    "field_serial": ("serial number", "序列号"),
    "field_state": ("operating mode", "运行模式"),
    "field_certificate": ("certificate", "证书"),
    "field_certificate_expires": ("certificate expiry", "证书到期"),
    "field_protocol": ("protocol", "协议"),
    "field_endpoints": ("endpoints", "端点"),
    "field_anonymous": ("anonymous login", "匿名登录"),
    "field_encrypted": ("encryption", "加密"),
    "no_devices": ("No device has been told of yet", "尚无设备信息"),
    "no_devices_long": (
        "Devices appear with the first heartbeat of the site's agent.",
        "收到该厂址代理的第一次心跳后，设备即会显示。",
    ),
    "planned_stops": ("Planned stops", "计划停产"),
    "planned_stop": ("Planned stop", "计划停产"),
    "planned_beside": (
        "A planned stop was declared for some of this outage. It changes no amount here.",
        "本次停产的部分时段申报为计划停产，不影响此处金额。",
    ),
    "declared_afterwards": ("declared afterwards", "事后申报"),
    "declared_at": ("declared", "申报于"),
    "declared_by": ("by", "申报人"),
    "planned_until": ("planned until", "计划至"),
    "called_off": ("called off", "已取消"),
    "whole_site": ("whole site", "全厂"),
    # the ullage
    "ullage": ("Ullage", "产量缺口"),
    "ullage_of": ("Output against standard", "产量与标准产量对照"),
    "per_minute": ("units/min", "件/分钟"),
    "units": ("units", "件"),
    "standard": ("Standard output", "标准产量"),
    "output": ("Output", "产量"),
    "actual": ("Output", "实际产量"),
    "gap": ("Ullage", "缺口"),
    "gap_now": ("Ullage now", "当前缺口"),
    "short_window": ("Short over the time shown", "图示时段内短缺"),
    "short_outage": ("Short in this outage", "本次停产短缺"),
    "last_outage": ("Short in the last outage", "上次停产短缺"),
    "not_observed": ("not observed", "未观测"),
    "line_full": ("{line} runs at its standard output.", "{line} 正按标准产量运行。"),
    "line_below": (
        "{line} makes {gap} units a minute less than standard.",
        "{line} 每分钟比标准产量少 {gap} 件。",
    ),
    "line_still": (
        "{line} stands still. {gap} units a minute are missing.",
        "{line} 已停产，每分钟缺少 {gap} 件。",
    ),
    "line_silent": (
        "Nothing is heard from {line}. Silence counts neither as output nor as an outage.",
        "{line} 没有消息。失联既不算产量，也不算停产。",
    ),
    "line_learning": (
        "{line} is being measured; its standard output is not known yet.",
        "{line} 正在测量中，标准产量尚未确定。",
    ),
    "no_lines": ("No production has been reported yet", "尚未收到产量报告"),
    "no_lines_long": (
        "The chart appears with the first production summary of the site's agent.",
        "收到该厂址代理的第一份产量汇总后，图表即会出现。",
    ),
    "basis": ("Basis of the standard", "标准产量依据"),
    "basis_measured": (
        "measured: {made} units in {length} of normal running before {before}",
        "实测：{before} 之前正常运行 {length}，产出 {made} 件",
    ),
    "outage_since": ("Out since", "停产始于"),
    "outage_over": ("Outage ended", "停产结束于"),
    "waiting_over": ("over", "已过"),
    "plot_waiting": ("waiting period ends", "等待期结束"),
    "plot_anomaly": ("anomaly", "异常"),
    "plot_ullage": (
        "Chart of output against standard output; the shaded gap is the ullage.",
        "产量与标准产量对照图；阴影部分即产量缺口。",
    ),
    # policy
    "policy": ("Policy", "保单"),
    "insured": ("Insured", "被保险人"),
    "limit": ("Limit", "赔偿限额"),
    "waiting": ("Waiting period", "等待期"),
    "excess": ("excess", "免赔式"),
    "calendar": ("calendar", "日历时间"),
    "trigger": ("trigger", "触发式"),
    "period": ("Period", "保险期间"),
    "plan": ("Rating plan", "费率方案"),
    "no_policy": ("No policy covers this site.", "该厂址尚无保单。"),
    # premium and score
    "premium": ("Premium", "保险费"),
    "indicated": ("indicated", "测算"),
    "charged": ("charged", "实收"),
    "indicated_long": ("Indicated: what the model says", "测算：模型得出的结果"),
    "charged_long": ("Charged: what the policy pays", "实收：保单实际支付"),
    "relativity": ("Relativity", "相对费率"),
    "base_premium": ("Base", "基准"),
    "no_premium": ("No premium yet", "尚无保险费"),
    "no_premium_long": (
        "The premium appears when a policy is bound for this site.",
        "该厂址的保单生效后即显示保险费。",
    ),
    "plot_relativity": (
        "Chart of the indicated and charged relativity over time; marks show where anomalies opened.",
        "测算与实收相对费率随时间变化图；标记为异常出现的时刻。",
    ),
    "score": ("Risk score", "风险评分"),
    "reasons": ("Why", "原因"),
    "points": ("points", "分"),
    "no_score": ("Not scored yet", "尚未评分"),
    "no_score_long": ("The score appears when a policy is bound for this site.", "该厂址的保单生效后即显示评分。"),
    "no_reasons": ("Nothing weighs on the score.", "没有影响评分的因素。"),
    # anomalies
    "anomalies": ("Anomalies", "异常"),
    "process": ("process", "工艺"),
    "integrity": ("integrity", "数据完整性"),
    "comms": ("communication", "通信"),
    "open": ("open", "未结"),
    "closed": ("closed", "已结"),
    "severity": ("Severity", "严重程度"),
    "lasted": ("lasted", "持续"),
    "so_far": ("so far", "至今"),
    "tags": ("Tags that explain it", "相关测点"),
    "tag": ("Tag", "测点"),
    "share": ("Share", "贡献"),
    "observed": ("Observed", "实测"),
    "expected": ("Expected", "预期"),
    "technique": ("Resembles", "类似技术"),
    "score_of": ("score {score}, threshold {threshold}", "得分 {score}，阈值 {threshold}"),
    "no_anomalies": ("No anomaly", "无异常"),
    "no_anomalies_long": (
        "Nothing abnormal has been reported. An anomaly appears here within seconds of the agent seeing it.",
        "尚未报告异常。代理发现异常后数秒内会显示在此处。",
    ),
    "announce": ("New anomaly, {kind}, severity {severity}", "新异常：{kind}，严重程度 {severity}"),
    # claims
    "claims": ("Claims", "理赔"),
    "claim": ("Claim", "赔案"),
    "opened": ("Opened", "立案"),
    "outage": ("Outage", "停产"),
    "lasting": ("lasting", "持续中"),
    "shortage": ("Shortage", "短缺"),
    "indemnity": ("Indemnity", "赔款"),
    "at_most": ("at most {amount}, if all unseen time was lost", "若未观测时段全部损失，最多 {amount}"),
    "missing": ("The amount cannot be computed without:", "缺少以下资料，无法计算金额："),
    "worksheet": ("How the indemnity is computed", "赔款如何计算"),
    "step": ("Step", "步骤"),
    "inputs": ("Inputs", "输入"),
    "result": ("Result", "结果"),
    "evidence": ("Evidence bundle", "证据包"),
    "evidence_hint": (
        "Verify it offline with “ullage-verify”.",
        "可用 “ullage-verify” 离线核验。",
    ),
    "no_claims": ("No claim", "无赔案"),
    "no_claims_long": (
        "A draft opens by itself when an outage outlasts the policy's waiting period.",
        "停产超过保单等待期后，系统会自动生成赔案草稿。",
    ),
    "draft": ("draft", "草稿"),
    "notified": ("notified", "已报案"),
    "reserved": ("reserved", "已提准备金"),
    "interim": ("interim payment", "已预付"),
    "agreed": ("agreed", "已核定"),
    "paid": ("paid", "已支付"),
    "declined": ("declined", "拒赔"),
    "withdrawn": ("withdrawn", "已撤回"),
    "reopened": ("reopened", "重开"),
    # ledger
    "ledger": ("Ledger", "账本"),
    "ledger_position": ("Position", "位置"),
    "ledger_head": ("Head", "链首"),
    "ledger_behind": ("{n} entries still to be read", "尚有 {n} 条待读取"),
    "ledger_hint": ("append-only, hash-chained", "只增不改，哈希成链"),
    "times_hint": ("Times are local; the tooltip gives UTC.", "时间为本地时间，悬停可见 UTC。"),
    # worksheet steps and inputs
    "step waiting period": ("Waiting period", "等待期"),
    "step standard output": ("Standard output", "标准产量"),
    "step actual output": ("Actual output", "实际产量"),
    "step lost units": ("Lost units", "损失件数"),
    "step loss of gross profit": ("Loss of gross profit", "毛利润损失"),
    "step extra cost of make-up": ("Extra cost of make-up", "补产额外费用"),
    "step increased cost of working": ("Increased cost of working", "营业费用增加"),
    "step savings in standing charges": ("Savings in standing charges", "固定费用节省"),
    "step average": ("Average", "比例分摊"),
    "step deductible": ("Deductible", "免赔额"),
    "step limit": ("Limit", "赔偿限额"),
    "step rounding": ("Rounding", "取整"),
    "unit waiting period": ("s", "秒"),
    "unit standard output": ("units", "件"),
    "unit actual output": ("units", "件"),
    "unit lost units": ("units", "件"),
    "in lasted_seconds": ("lasted", "持续秒数"),
    "in waiting_seconds": ("waiting period", "等待秒数"),
    "in kind": ("kind", "方式"),
    "in clock": ("clock", "计时"),
    "in rate_per_hour": ("units per hour", "每小时件数"),
    "in seconds": ("seconds", "秒数"),
    "in counted": ("counted", "计数"),
    "in seconds_without_count": ("seconds without a count", "无计数秒数"),
    "in standard": ("standard", "标准"),
    "in actual": ("actual", "实际"),
    "in made_up_later": ("made up later", "事后补产"),
    "in lost_units": ("lost units", "损失件数"),
    "in value_of_unit": ("value of a unit", "单件价值"),
    "in unit_price": ("unit price", "单价"),
    "in rate_of_gross_profit": ("rate of gross profit", "毛利润率"),
    "in deductible": ("deductible", "免赔额"),
    "in limit": ("limit", "限额"),
    "in amount": ("amount", "金额"),
    "note only time after the waiting period counts": (
        "only time after the waiting period counts",
        "仅计算等待期之后的时间",
    ),
    "note once it is over, all time from the start counts": (
        "once it is over, all time from the start counts",
        "等待期届满后，自停产开始的全部时间均计入",
    ),
    "note the outage did not outlast the waiting period; nothing is payable": (
        "the outage did not outlast the waiting period; nothing is payable",
        "停产未超过等待期，不予赔付",
    ),
    "note units that the line would have made": (
        "units that the line would have made",
        "生产线本应产出的件数",
    ),
    "note time without a count adds neither standard nor actual output; the most it could add is told apart": (
        "time without a count adds neither standard nor actual output; the most it could add is told apart",
        "无计数的时间既不计标准产量也不计实际产量；其最大可能影响另行列出",
    ),
    "note standard less actual, never below zero, less units made up later": (
        "standard less actual, never below zero, less units made up later",
        "标准减实际，不低于零，再减事后补产",
    ),
    "note lost units × gross profit of a unit": (
        "lost units × gross profit of a unit",
        "损失件数 × 单件毛利润",
    ),
    "note paid up to the gross profit it saves": (
        "paid up to the gross profit it saves",
        "以所挽回的毛利润为限",
    ),
    "note paid up to the gross profit it saved": (
        "paid up to the gross profit it saved",
        "以所挽回的毛利润为限",
    ),
    "note charges that ceased; the loss is never below zero": (
        "charges that ceased; the loss is never below zero",
        "已停止发生的费用；损失不低于零",
    ),
    "note after average, never below zero": (
        "after average, never below zero",
        "在比例分摊之后扣除，不低于零",
    ),
    "note the most the cover pays": (
        "the most the cover pays",
        "保单最高赔付额",
    ),
    "note half up to the minor unit, once, at the end": (
        "half up to the minor unit, once, at the end",
        "最后一次性四舍五入至最小货币单位",
    ),
}


class Words:
    """The catalogue in one language; ``words("key", n=3)`` gives the text, filled in."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        text = TEXTS[key][self._column]
        return text.format(**values) if values else text

    def term(self, prefix: str, name: str) -> str:
        """A name from a computation in this language; the name itself, with spaces, where it is not known."""
        found = TEXTS.get(f"{prefix} {name}")
        return name.replace("_", " ") if found is None else found[self._column]

    def unit(self, step: str) -> str:
        """The unit of a computation step's result; empty where the result names its own."""
        found = TEXTS.get(f"unit {step}")
        return "" if found is None else found[self._column]

    def note(self, text: str) -> str:
        """The rule behind a computation step; as it stands on record where it is not known."""
        rule, mark, rest = text.partition("; ")
        for known in (text, rule):
            if (found := TEXTS.get(f"note {known}")) is not None:
                return found[self._column] + (mark + rest if known is rule and mark else "")
        return text

    def named(self, prefix: str, name: str) -> str:
        """A cause or a field in this language; as it stands on record where it is not known."""
        found = TEXTS.get(f"{prefix}_{name}")
        return name if found is None else found[self._column]

    def state(self, name: str) -> str:
        """A state or kind; unknown ones are shown as they are."""
        found = TEXTS.get(name)
        return name if found is None else found[self._column]


CATALOGUE: Final = {language: Words(language) for language in LANGUAGES}


def choose(query: str, cookie: str, accept: str) -> Words:
    """By ``?lang=``, then the cookie, then Accept-Language; English where none of them names a known one."""
    for asked in (query, cookie):
        if asked in CATALOGUE:
            return CATALOGUE[asked]
    best, weight = "en", 0.0
    for part in accept[:500].split(","):
        tag, _, rest = part.strip().partition(";")
        language = tag.strip().lower()[:2]
        try:
            q = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            continue
        if language in CATALOGUE and q > weight:
            best, weight = language, q
    return CATALOGUE[best]
