# Prints what the inventory reads of Windows: `== NAME`, then the properties of each object, an empty line between.
# Each part may fail by itself (a class a version does not have, a right that is missing) and is then left out.
$ErrorActionPreference = 'Stop'
[Console]::OutputEncoding = New-Object System.Text.UTF8Encoding($false)

function Write-Value($value) {
    if ($null -eq $value) { return '' }
    if ($value -is [datetime]) { return [Management.ManagementDateTimeConverter]::ToDmtfDateTime($value) }
    if ($value -is [array]) { return ($value -join ',') }
    return ([string]$value) -replace '[\r\n]+', ' '
}

function Write-Part([string]$name, [scriptblock]$read) {
    try {
        $objects = @(& $read)
        Write-Output "== $name"
        foreach ($object in $objects) {
            foreach ($property in $object.psobject.Properties) {
                if ($property.Name -match '^(Cim|PS)[A-Z]') { continue }
                Write-Output ('{0}={1}' -f $property.Name, (Write-Value $property.Value))
            }
            Write-Output ''
        }
    } catch { }
}

foreach ($class in 'Win32_ComputerSystem', 'Win32_ComputerSystemProduct', 'Win32_BIOS', 'Win32_BaseBoard',
    'Win32_SystemEnclosure', 'Win32_Processor', 'Win32_PhysicalMemory', 'Win32_PhysicalMemoryArray',
    'Win32_OperatingSystem', 'Win32_DiskDrive', 'Win32_LogicalDisk', 'Win32_VideoController',
    'Win32_NetworkAdapter', 'Win32_Printer', 'Win32_QuickFixEngineering') {
    Write-Part $class { Get-CimInstance -ClassName $class }
}
Write-Part 'MSFT_PhysicalDisk' { Get-CimInstance -Namespace root/Microsoft/Windows/Storage -ClassName MSFT_PhysicalDisk }
Write-Part 'StorageReliabilityCounter' { Get-PhysicalDisk | Get-StorageReliabilityCounter | Select-Object DeviceId, Wear }
Write-Part 'MSStorageDriver_FailurePredictStatus' {
    Get-CimInstance -Namespace root/wmi -ClassName MSStorageDriver_FailurePredictStatus
}
Write-Part 'AntiVirusProduct' { Get-CimInstance -Namespace root/SecurityCenter2 -ClassName AntiVirusProduct }
Write-Part 'MSFT_MpComputerStatus' {
    Get-CimInstance -Namespace root/Microsoft/Windows/Defender -ClassName MSFT_MpComputerStatus
}
Write-Part 'MSFT_NetFirewallProfile' {
    Get-CimInstance -Namespace root/StandardCimv2 -ClassName MSFT_NetFirewallProfile | Select-Object Name, Enabled
}
Write-Part 'Win32_EncryptableVolume' {
    Get-CimInstance -Namespace root/cimv2/Security/MicrosoftVolumeEncryption -ClassName Win32_EncryptableVolume
}
Write-Part 'Win32_Tpm' { Get-CimInstance -Namespace root/cimv2/Security/MicrosoftTpm -ClassName Win32_Tpm }
Write-Part 'Edid' {
    foreach ($monitor in Get-CimInstance -Namespace root/wmi -ClassName WmiMonitorDescriptorMethods) {
        $block = Invoke-CimMethod -InputObject $monitor -MethodName WmiGetMonitorRawEEdidV1Block -Arguments @{ BlockId = [byte]0 }
        New-Object psobject -Property @{ Block = ($block.BlockContent | ForEach-Object { '{0:x2}' -f $_ }) -join '' }
    }
}
Write-Part 'Registry' {
    $values = @{}
    foreach ($place in @(
            @('HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion', 'DisplayVersion'),
            @('HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion', 'ReleaseId'),
            @('HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion', 'EditionID'),
            @('HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion', 'ProductName'),
            @('HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion', 'CurrentBuildNumber'),
            @('HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion', 'UBR'),
            @('HKLM:\SOFTWARE\Microsoft\Cryptography', 'MachineGuid'),
            @('HKLM:\SYSTEM\CurrentControlSet\Control\SecureBoot\State', 'UEFISecureBootEnabled'),
            @('HKLM:\SYSTEM\CurrentControlSet\Control\Terminal Server', 'fDenyTSConnections'),
            @('HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU', 'NoAutoUpdate'))) {
        try { $values[$place[1]] = (Get-ItemProperty -Path $place[0] -Name $place[1]).($place[1]) } catch { }
    }
    New-Object psobject -Property $values
}
Write-Part 'Updates' {
    # What Windows Update found when it last looked: nothing is asked of the network.
    $searcher = (New-Object -ComObject Microsoft.Update.Session).CreateUpdateSearcher()
    $searcher.Online = $false
    $found = @($searcher.Search('IsInstalled=0 and IsHidden=0').Updates)
    $security = @($found | Where-Object { $_.MsrcSeverity })
    New-Object psobject -Property @{ Pending = $found.Count; SecurityPending = $security.Count }
}
Write-Part 'Administrators' {
    New-Object psobject -Property @{ Count = @(Get-LocalGroupMember -SID 'S-1-5-32-544').Count }
}
Write-Part 'Store' { Get-AppxPackage -AllUsers | Select-Object Name, Version, Publisher -Unique }
Write-Part 'Logon' { Get-CimInstance -ClassName Win32_NetworkLoginProfile | Select-Object Name, LastLogon }
